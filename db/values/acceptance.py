"""What a sender hands over, and the answer to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from db.vocabulary.enums import InstanceReceipt, Priority, Source, StudyState


@dataclass(frozen=True, kw_only=True)
class ReceivedInstance:
    """One DICOM file as it came, already stored under the intake folder."""

    sop_instance_uid: str = field(repr=False)
    """(0008,0018); unique within its study."""
    series_instance_uid: str = field(repr=False)
    """(0020,000E)."""
    sop_class_uid: str
    """(0008,0016), a registered UID."""
    transfer_syntax_uid: str
    """(0002,0010), a registered UID."""
    transfer_syntax_name: str | None = None
    """Its name for people, e.g. "JPEG 2000 Lossless", which the views show."""
    file_sha256: str
    """64 hex digits over the file's bytes."""
    content_sha256: str | None = None
    """64 hex digits that do not depend on the file meta, which each program writes differently."""
    file_name: str
    """Opaque name relative to the intake folder."""
    file_bytes: int
    """Size of the file."""
    modality: str | None = None
    """A defined term, e.g. "DX". Views show it: pass None for anything that is no defined term."""
    body_part: str | None = None
    """A defined term, e.g. "CHEST"; None otherwise."""
    view_position: str | None = None
    """A defined term, e.g. "PA"; None otherwise."""
    manufacturer: str | None = None
    """At most 64 printable characters."""
    rows: int | None = None
    """(0028,0010)."""
    columns: int | None = None
    """(0028,0011)."""


@dataclass(frozen=True, kw_only=True)
class ReceivedStudy:
    """A study, or the part of it that came at once; at least one instance."""

    study_instance_uid: str = field(repr=False)
    """(0020,000D)."""
    instances: tuple[ReceivedInstance, ...]
    """What came; every file must be on disk already."""
    priority: Priority = Priority.ROUTINE
    """As requested."""
    source: Source = Source.PYTHON
    """The way in."""
    site_ae_title: str | None = None
    """Calling AE title, or another name of the sending site."""
    patient_id: str | None = field(default=None, repr=False)
    """Personal: goes into study_identity alone."""
    issuer_of_patient_id: str | None = field(default=None, repr=False)
    """Which system issued it: the same id of another issuer is another patient."""
    accession_number: str | None = field(default=None, repr=False)
    """Personal: goes into study_identity alone."""
    patient_sex: str | None = None
    """"M", "F", "O" or None."""
    patient_age_years: float | None = None
    """Age at the study."""

    def __post_init__(self) -> None:
        if not self.instances:
            raise ValueError("A received study has at least one instance; got none.")


@dataclass(frozen=True, kw_only=True)
class InstanceAcceptance:
    """What was done with one instance; listed in the order in which they were handed over."""

    outcome: InstanceReceipt
    """Rows refer to the files of new and changed instances, and to a duplicate's if it is the same."""
    file_name: str
    """As it was handed over."""


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """The answer to a sender, true once the transaction is committed."""

    study_key: str
    """32 hex digits, random: the only thing that travels."""
    is_new: bool
    """False if the study was known before."""
    instances: tuple[InstanceAcceptance, ...]
    """One for each instance handed over."""
    state: StudyState
    """The study's state now."""
    revision: int
    """1 for the first; +1 each time new images came to a running or finished study, or a changed
    one to any."""
