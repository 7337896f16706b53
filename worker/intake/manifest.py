"""A sender's manifest: which instances a study consists of, as JSON or as a DICOM object.

JSON, one object or a list of them:

    {"study_instance_uid": "1.2.3", "sop_instance_uids": ["1.2.3.1", "1.2.3.2"]}

DICOM: a Key Object Selection Document, whose Current Requested Procedure Evidence Sequence
(0040,A375) lists the instances of each study (PS3.3 C.17.2; IHE XDS-I.b calls it a manifest).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydicom.uid import KeyObjectSelectionDocumentStorage

from worker.errors import Rejected
from worker.imaging.dicom_files import looks_like_dicom, open_dataset
from worker.storage.intake_folder import unreadable

DicomUid = Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]
"""As an instance may carry it: real consoles break the finer rules of PS3.5 9.1."""


@dataclass(frozen=True, kw_only=True)
class SenderManifest:
    """What one study consists of."""

    study_instance_uid: str = field(repr=False)
    """(0020,000D)."""
    sop_instance_uids: tuple[str, ...] = field(repr=False)
    """(0008,0018) of each instance; at least one."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    study_instance_uid: DicomUid
    sop_instance_uids: Annotated[list[DicomUid], Field(min_length=1)]


_ENTRIES = TypeAdapter(list[_Entry])


def read_manifests(path: Path) -> tuple[SenderManifest, ...]:
    """The manifests of a file, one for each study; at least one.

    Raises Rejected MANIFEST_INVALID, told by place and not by value, and FILE_UNREADABLE.
    """
    try:
        with path.open("rb") as file:
            is_dicom = looks_like_dicom(file)
        found = tuple(_of_key_objects(path) if is_dicom else _of_json(path))
    except OSError as error:
        raise unreadable(error) from None
    if not found:
        raise _invalid("it names no instance")
    return _by_study(found)


def checked_manifest(study_instance_uid: str, sop_instance_uids: Sequence[str]) -> SenderManifest:
    """A manifest from a program's values. Raises Rejected MANIFEST_INVALID."""
    try:
        return _manifest(
            _Entry(study_instance_uid=study_instance_uid, sop_instance_uids=list(sop_instance_uids))
        )
    except ValidationError:
        raise _invalid("a UID is none, or it names no instance") from None


def _of_json(path: Path) -> Iterator[SenderManifest]:
    try:
        values = json.loads(path.read_bytes())
    except ValueError:
        raise _invalid("it is neither JSON nor DICOM") from None
    try:
        entries = _ENTRIES.validate_python(values if isinstance(values, list) else [values])
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _invalid(f"entry {where}: {first['msg']}") from None
    yield from map(_manifest, entries)


def _of_key_objects(path: Path) -> Iterator[SenderManifest]:
    dataset = open_dataset(path, stop_before_pixels=True)
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
    """One for each study, however often the file names it."""
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
