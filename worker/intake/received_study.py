"""Stored files and their headers as the record for the database: identifiers and defined terms."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.uid import UID, UID_dictionary

from db.values import ReceivedInstance, ReceivedStudy
from db.vocabulary.enums import Priority, Source
from worker.imaging import vocabulary
from worker.imaging.header import InstanceHeader
from worker.imaging.lexicon import is_known
from worker.storage.intake_folder import StoredFile

_US_MAXIMUM = 65_535
"""Rows and Columns are US (PS3.6), but a broken file may say anything."""


def received_study(
    files: Sequence[tuple[StoredFile, InstanceHeader]],
    *,
    priority: Priority,
    site_ae_title: str | None,
    source: Source,
) -> ReceivedStudy:
    """Return one study of at least one file; the patient's attributes come from the first file."""
    _, first = files[0]
    return ReceivedStudy(
        study_instance_uid=first.study_instance_uid,
        instances=tuple(_received_instance(stored, header) for stored, header in files),
        priority=priority,
        source=source,
        site_ae_title=_without_nul(site_ae_title),
        patient_id=_without_nul(first.patient_id),
        issuer_of_patient_id=_without_nul(first.issuer_of_patient_id),
        accession_number=_without_nul(first.accession_number),
        patient_sex=first.patient_sex,
        patient_age_years=first.patient_age_years,
    )


def _received_instance(stored: StoredFile, header: InstanceHeader) -> ReceivedInstance:
    return ReceivedInstance(
        sop_instance_uid=header.sop_instance_uid,
        series_instance_uid=header.series_instance_uid,
        sop_class_uid=header.sop_class_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
        transfer_syntax_name=_syntax_name(header.transfer_syntax_uid),
        file_sha256=stored.sha256,
        content_sha256=stored.content_sha256,
        file_name=stored.name,
        file_bytes=stored.size,
        modality=_quotable(header.modality, vocabulary.MODALITIES),
        body_part=_body_part(header),
        view_position=_view_position(header),
        manufacturer=header.manufacturer,
        rows=_size(header.rows),
        columns=_size(header.columns),
    )


def _body_part(header: InstanceHeader) -> str | None:
    """Return Body Part Examined, else Anatomic Region Sequence: DX need not carry the first."""
    part = _known(header.body_part_examined)
    return part or ("CHEST" if header.anatomic_region == "CHEST" else None)


def _view_position(header: InstanceHeader) -> str | None:
    """Return View Position, else View Code Sequence, which DX must carry."""
    return _known(header.view_position) or _known(header.view_code)


def _quotable(value: str | None, terms: frozenset[str]) -> str | None:
    """Return the value if it is a defined term: analysts' columns hold nothing else."""
    return value if value in terms else None


def _known(phrase: str | None) -> str | None:
    """Return a body part or view of which every word is known."""
    return phrase if phrase and is_known(phrase) else None


def _syntax_name(uid: str) -> str | None:
    """Return the registered name of a transfer syntax; None for a private one."""
    return str(UID(uid).name) if uid in UID_dictionary else None


def _size(value: int | None) -> int | None:
    return value if value is not None and 0 <= value <= _US_MAXIMUM else None


def _without_nul(value: str | None) -> str | None:
    """Return the value without NUL: some consoles pad with it, and PostgreSQL cannot store it."""
    return (value or "").replace("\0", "").strip() or None
