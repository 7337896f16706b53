"""Logs that a machine can search and that hold no personal data.

Two rules keep names out. Our own lines consist of fixed words and opaque keys. Nothing that another
library says about a dataset gets through: pydicom and pynetdicom quote values and UIDs in warnings
and debug lines, and an exception's text may quote anything, so their loggers are disabled, and a
traceback is written as its frames and its exception's type, without the exception's text.
"""

from __future__ import annotations

import logging
import sys
import traceback
import uuid
import warnings
from pathlib import Path
from typing import Any, TextIO

import structlog

NOISY_LIBRARIES = (
    "pydicom", "pynetdicom", "PIL", "imagecodecs", "gdcm", "openjpeg", "sqlalchemy.pool", "urllib3",
)  # fmt: skip
"""Libraries that may quote what they read: disabled at every level."""


def configure_logging(
    level: str = "INFO", form: str = "json", stream: TextIO | None = None
) -> None:
    """Send every log line of this process to `stream` (standard error), as JSON or as text."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _exception_without_words,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    render: Any = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    logging.raiseExceptions = False  # a line that cannot be written must not be printed raw
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    silence_noisy_libraries()


def silence_noisy_libraries() -> None:
    """Keep every library from quoting a dataset, by logging or by warning."""
    for name in NOISY_LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers[:] = [logging.NullHandler()]
        logger.propagate = False
        logger.disabled = True
    # Its state machine logs under names of its own below "pynetdicom".
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("pynetdicom."):
            logging.getLogger(name).disabled = True
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
    warnings.filterwarnings("ignore", module=r"pynetdicom(\.|$)")


def get_logger(name: str) -> Any:
    """Return a structlog logger; bind opaque keys only (study_key, attempt, lane, code)."""
    return structlog.stdlib.get_logger(name)


def _exception_without_words(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    """Replace `exc_info` by frames and type: an exception's text may quote a dataset."""
    info = event.pop("exc_info", None)
    if info:
        error = info[1] if isinstance(info, tuple) else info
        error = sys.exc_info()[1] if error is True else error
        if isinstance(error, BaseException):
            event["error_type"] = type(error).__qualname__
            event["frames"] = traceback_frames(error)
    return event


def traceback_frames(error: BaseException) -> list[str]:
    """Return where an exception came from: `file:line function`, outermost first, causes before it."""
    frames = traceback_frames(error.__cause__) if error.__cause__ else []
    frames += [
        f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return [*frames, f"raised {type(error).__qualname__}"]


def log_traceback(error: BaseException, log: Any, **bound: object) -> str:
    """Log an exception's frames under a new reference and return the reference."""
    reference = uuid.uuid4().hex[:12]
    log.error(
        "traceback_kept",
        reference=reference,
        error_type=type(error).__qualname__,
        frames=traceback_frames(error),
        **bound,
    )
    return reference
