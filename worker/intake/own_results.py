"""Our own objects on their way back: a PACS that sends us everything sends us those, too.

They are no new images of a study. Taking them over would make a revision, whose result would come
back as well, without end.
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
"""(0018,1020): the network's label, then the make of our objects."""
RESULT_SERIES_DESCRIPTION = re.compile(r"Pneumonia, (report|picture) of \S")
"""(0008,103E), before the network's label."""


class HasHeader(Protocol):
    """Anything that has been read so far as its header."""

    @property
    def header(self) -> InstanceHeader:
        """Its identifiers."""


File = TypeVar("File", bound=HasHeader)


def is_own_result(header: InstanceHeader, database: Database) -> bool:
    """Whether an instance that came in is an object that we made and sent; said in the log if so.

    No radiograph is asked for in SQL: only the two classes that we make.
    """
    if header.sop_class_uid not in RESULT_SOP_CLASSES:
        return False
    with database.reading() as session:
        own = bool(own_results(session, [header.sop_instance_uid])) or is_pneumo_result(header)
    if own:
        log.info("own_result_dropped")
    return own


def is_pneumo_result(header: InstanceHeader) -> bool:
    """Whether any installation of pneumo made it, by what `worker.results.common_modules` writes.

    Two that read for one PACS would else take each other's results for late images, without end. A
    PACS leaves these elements as they are; the file meta it writes anew.
    """
    return has_pneumo_result_attributes(header.series_description, header.software_versions)


def has_pneumo_result_attributes(
    series_description: str | None, software_versions: str | None
) -> bool:
    """The same by the two elements alone, as a header or an archive's answer has them."""
    made = RESULT_SOFTWARE_VERSIONS.fullmatch(software_versions or "")
    described = series_description or ""
    return made is not None and described.startswith("Pneumonia, ") and made["label"] in described


def has_pneumo_series_description(series_description: str | None) -> bool:
    """Whether a series has a name as ours have. Alone it proves nothing."""
    return RESULT_SERIES_DESCRIPTION.match(series_description or "") is not None


def without_own_results(files: Sequence[File], database: Database) -> list[File]:
    """The files that are not objects of ours."""
    return [file for file in files if not is_own_result(file.header, database)]
