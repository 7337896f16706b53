"""Our own result objects coming back: a PACS that forwards everything forwards those, too.

They are no new images of a study. Accepting them would make a revision, whose result would come back
as well, without end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol, TypeVar

from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage

from db.deliveries.overview import own_results
from db.engine.session import Database
from worker.imaging.header import InstanceHeader
from worker.logging import get_logger

log = get_logger(__name__)

RESULT_SOP_CLASSES = {str(Comprehensive3DSRStorage), str(SecondaryCaptureImageStorage)}
RESULT_SOFTWARE_VERSIONS = re.compile(r"(?P<label>[^\\]+)\\results \d+")
"""(0018,1020): the network's label, then the version of our objects."""
RESULT_SERIES_DESCRIPTION = re.compile(r"Pneumonia, (report|picture) of \S")
"""(0008,103E), before the network's label."""


class HasHeader(Protocol):
    """Anything with an instance's header."""

    @property
    def header(self) -> InstanceHeader:
        """The header, with its identifiers."""


File = TypeVar("File", bound=HasHeader)


def is_own_result(header: InstanceHeader, database: Database) -> bool:
    """Return whether an incoming instance is an object that we made and sent; log it if so.

    SQL is queried for the two classes that we make only, never for a radiograph.
    """
    if header.sop_class_uid not in RESULT_SOP_CLASSES:
        return False
    with database.reading() as session:
        own = bool(own_results(session, [header.sop_instance_uid])) or is_pneumo_result(header)
    if own:
        log.info("own_result_dropped")
    return own


def is_pneumo_result(header: InstanceHeader) -> bool:
    """Return whether any installation of pneumo made it, by what `worker.results.common_modules` writes.

    Two installations that serve one PACS would otherwise accept each other's results as late images,
    without end. A PACS keeps these elements; it replaces the file meta.
    """
    return has_pneumo_result_attributes(header.series_description, header.software_versions)


def has_pneumo_result_attributes(
    series_description: str | None, software_versions: str | None
) -> bool:
    """Return the same by the two elements alone, as a header or an archive's answer has them."""
    made = RESULT_SOFTWARE_VERSIONS.fullmatch(software_versions or "")
    described = series_description or ""
    return made is not None and described.startswith("Pneumonia, ") and made["label"] in described


def has_pneumo_series_description(series_description: str | None) -> bool:
    """Return whether a series is named as ours are. Alone this proves nothing."""
    return RESULT_SERIES_DESCRIPTION.match(series_description or "") is not None


def without_own_results(files: Sequence[File], database: Database) -> list[File]:
    """Return the files that are not objects of ours."""
    return [file for file in files if not is_own_result(file.header, database)]
