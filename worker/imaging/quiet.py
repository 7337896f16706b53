"""pydicom's own warnings and log lines quote tag values, and any tag may hold a name: silence them.

Done once, when `worker.imaging` is imported, and for the whole process: `warnings.catch_warnings`
swaps a global list and so is not safe while many threads decode.
"""

from __future__ import annotations

import logging
import warnings

from pydicom import config


def quiet_pydicom() -> None:
    """Stop pydicom from validating, warning and logging; what matters we check ourselves."""
    # Validation is what quotes values ("Invalid value for VR UI: '...'"); our rules take its place.
    config.settings.reading_validation_mode = config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    # pydicom warns with a stack level that points at its caller, so its callers are named as well.
    for module in (r"pydicom\b", r"worker\.imaging\b", r"worker\.results\b"):
        warnings.filterwarnings("ignore", category=UserWarning, module=module)
