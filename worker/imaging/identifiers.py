"""The UIDs without which an instance cannot be told from others."""

from __future__ import annotations

import re

from pydicom.dataset import FileDataset

from worker.imaging import vocabulary
from worker.imaging.header_values import text
from worker.imaging.refusals import Step, refused

_MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
_REQUIRED = {
    "StudyInstanceUID": ("STUDY_UID", "(0020,000D) Study Instance UID"),
    "SeriesInstanceUID": ("SERIES_UID", "(0020,000E) Series Instance UID"),
    "SOPInstanceUID": ("SOP_INSTANCE_UID", "(0008,0018) SOP Instance UID"),
    "SOPClassUID": ("SOP_CLASS_UID", "(0008,0016) SOP Class UID"),
}
_TRANSFER_SYNTAX = ("TRANSFER_SYNTAX_UID", "(0002,0010) Transfer Syntax UID")
_UID = re.compile(r"[0-9.]{1,64}")

REQUIRED_KEYWORDS = tuple(_REQUIRED)
"""The four that every instance must carry."""


def required_uids(dataset: FileDataset) -> dict[str, str]:
    """Keyword -> UID for the four, and "TransferSyntaxUID".

    Only digits and dots are asked for: real consoles break the finer rules of PS3.5 9.1. Raises
    RefusedInstance DICOMDIR, <NAME>_UID_MISSING or <NAME>_UID_INVALID.
    """
    if text(dataset.file_meta, "MediaStorageSOPClassUID") == _MEDIA_STORAGE_DIRECTORY:
        raise refused(
            "DICOMDIR",
            step=Step.HEADER,
            found="a directory of other files (DICOMDIR)",
            expected="an instance",
            advice="Give the files or the folder themselves.",
        )
    uids = {kw: _checked(text(dataset, kw), *names) for kw, names in _REQUIRED.items()}
    syntax = _checked(text(dataset.file_meta, "TransferSyntaxUID"), *_TRANSFER_SYNTAX)
    return {**uids, "TransferSyntaxUID": syntax}


def is_uid(value: str) -> bool:
    """Return whether this may be a UID, by the same rule."""
    return bool(_UID.fullmatch(value))


def _checked(value: str | None, code: str, tag: str) -> str:
    if value is not None and _UID.fullmatch(value):
        return value
    raise refused(
        f"{code}_MISSING" if value is None else f"{code}_INVALID",
        step=Step.HEADER,
        tag=tag,
        found=vocabulary.ABSENT if value is None else f"{len(value)} characters that are no UID",
        expected="at most 64 digits and dots",
        advice="Without it the instance cannot be told from others; its source must write it.",
    )
