"""A sender's manifest: the instances of a study, as JSON or as a DICOM object.

JSON, one object or a list of them:

    {"study_instance_uid": "1.2.3", "sop_instance_uids": ["1.2.3.1", "1.2.3.2"]}

DICOM: a Key Object Selection Document, whose Current Requested Procedure Evidence Sequence
(0040,A375) lists the instances of each study (PS3.3 C.17.2; IHE XDS-I.b calls it a manifest).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Annotated, BinaryIO

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydicom.uid import KeyObjectSelectionDocumentStorage

from worker.errors import PneumoError, Rejected
from worker.imaging.dicom_files import looks_like_dicom, open_dataset
from worker.logging import get_logger, log_traceback
from worker.storage.untrusted_files import UntrustedPath

log = get_logger(__name__)

DicomUid = Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]
"""As an instance may carry it: real consoles break the finer rules of PS3.5 9.1."""


@dataclass(frozen=True, kw_only=True)
class SenderManifest:
    """The instances of one study."""

    study_instance_uid: str = field(repr=False)
    """(0020,000D)."""
    sop_instance_uids: tuple[str, ...] = field(repr=False)
    """(0008,0018) of each instance; at least one."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    study_instance_uid: DicomUid
    sop_instance_uids: Annotated[list[DicomUid], Field(min_length=1)]


_ENTRIES = TypeAdapter(list[_Entry])


MAX_BYTES = 4 << 20
"""A manifest of 50,000 instances; a parsed JSON takes twenty times as much memory."""


def read_manifests(source: Path | UntrustedPath) -> tuple[SenderManifest, ...]:
    """Read the manifests of a file, one for each study; at least one.

    Raises Rejected MANIFEST_INVALID, with the position and without the value; FILE_UNREADABLE,
    FILE_TOO_LARGE, LINK_REFUSED, NOT_A_REGULAR_FILE.
    """
    given = source if isinstance(source, UntrustedPath) else UntrustedPath(top=source)
    with given.open(max_bytes=MAX_BYTES) as opened:
        found = _parsed(b"".join(opened.chunks()))
    if not found:
        raise _invalid("it names no instance")
    return _by_study(found)


def _parsed(content: bytes) -> tuple[SenderManifest, ...]:
    file = BytesIO(content)
    try:
        return tuple(_of_key_objects(file) if looks_like_dicom(file) else _of_json(content))
    except PneumoError:
        raise
    except Exception as error:  # noqa: BLE001  whatever a hostile file makes a parser raise
        reference = log_traceback(error, log, code="MANIFEST_INVALID")
        raise _invalid(f"it cannot be parsed (traceback {reference} in the log)") from None


def checked_manifest(study_instance_uid: str, sop_instance_uids: Sequence[str]) -> SenderManifest:
    """Return a manifest of a program's values. Raises Rejected MANIFEST_INVALID."""
    try:
        return _manifest(
            _Entry(study_instance_uid=study_instance_uid, sop_instance_uids=list(sop_instance_uids))
        )
    except ValidationError:
        raise _invalid("a UID is none, or it names no instance") from None


def _of_json(content: bytes) -> Iterator[SenderManifest]:
    try:
        values = json.loads(content)
    except ValueError:
        raise _invalid("it is neither JSON nor DICOM") from None
    except RecursionError:
        raise _invalid("its JSON is nested too deeply") from None
    try:
        entries = _ENTRIES.validate_python(values if isinstance(values, list) else [values])
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _invalid(f"entry {where}: {first['msg']}") from None
    yield from map(_manifest, entries)


def _of_key_objects(file: BinaryIO) -> Iterator[SenderManifest]:
    dataset = open_dataset(file, stop_before_pixels=True)
    if dataset.get("SOPClassUID") != KeyObjectSelectionDocumentStorage:
        raise _invalid("it is a DICOM instance, but no Key Object Selection Document")
    for study in dataset.get("CurrentRequestedProcedureEvidenceSequence") or ():
        uids = [
            str(instance.get("ReferencedSOPInstanceUID", ""))
            for series in study.get("ReferencedSeriesSequence") or ()
            for instance in series.get("ReferencedSOPSequence") or ()
        ]
        try:
            yield _manifest(
                _Entry(
                    study_instance_uid=str(study.get("StudyInstanceUID", "")),
                    sop_instance_uids=uids,
                )
            )
        except ValidationError:
            raise _invalid("its evidence sequence (0040,A375) lacks a UID") from None


def _manifest(entry: _Entry) -> SenderManifest:
    return SenderManifest(
        study_instance_uid=entry.study_instance_uid,
        sop_instance_uids=tuple(entry.sop_instance_uids),
    )


def _by_study(found: tuple[SenderManifest, ...]) -> tuple[SenderManifest, ...]:
    """Merge them into one for each study, however often the file names it."""
    merged: dict[str, list[str]] = {}
    for manifest in found:
        merged.setdefault(manifest.study_instance_uid, []).extend(manifest.sop_instance_uids)
    return tuple(
        SenderManifest(study_instance_uid=study, sop_instance_uids=tuple(dict.fromkeys(uids)))
        for study, uids in merged.items()
    )


def _invalid(why: str) -> Rejected:
    return Rejected(
        "MANIFEST_INVALID",
        f"The manifest cannot be used: {why}. Expected JSON with study_instance_uid and "
        "sop_instance_uids, or a DICOM Key Object Selection Document (docs/bridges.md).",
    )
