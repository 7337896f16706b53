"""One C-STORE request: store the file, commit the row, answer; every failure has a status and a code.

The data set is stored byte for byte as it came (incoming_datasets.py), in whatever transfer syntax,
behind a file meta of ours: nothing is decoded, so nothing is changed by encoding it again.
"""

from __future__ import annotations

import time
from typing import Any

from pydicom.dataset import Dataset
from sqlalchemy.exc import SQLAlchemyError

from db.engine.session import Database
from db.values import Acceptance
from db.vocabulary.enums import InstanceReceipt, Priority
from worker.errors import Bug, ErrorKind, PneumoError, Rejected, Resource, Transient
from worker.imaging.header import InstanceHeader
from worker.intake.accept import accept_instance
from worker.intake.files import checked_header
from worker.intake.own_results import is_own_result
from worker.logging import get_logger, log_traceback
from worker.settings import Settings
from worker.storage.disk import refuse_when_nearly_full
from worker.storage.disk_condition import note_disk_failure

log = get_logger(__name__)

SUCCESS = 0x0000
STATUS_OF_KIND = {
    ErrorKind.REJECTED: 0xC000,  # Cannot understand
    ErrorKind.TRANSIENT: 0xA700,  # Refused: out of resources; senders try again later
    ErrorKind.RESOURCE: 0xA700,
    ErrorKind.BUG: 0xC211,  # Cannot understand; the last two digits are ours to choose
}
"""Failure status codes of the Storage Service Class, PS3.4 B.2.3."""
OTHER_INSTANCE, STATUS_OTHER_INSTANCE = "OTHER_INSTANCE", 0xA900
"""Data Set does not match SOP Class, PS3.4 B.2.3."""

HIGH = 0x0001
"""(0000,0700) Priority: LOW 2, MEDIUM 0, HIGH 1 (PS3.7 9.3.1.1)."""


def handle_c_store(event: Any, settings: Settings, database: Database) -> Dataset:
    """Return the status for the sender: 0x0000 only for what is on disk and in SQL. Never raises.

    `event`: pynetdicom's EVT_C_STORE. A failure's Error Comment (0000,0902) is its code.
    """
    started = time.perf_counter()
    try:
        accepted = _accept(event, settings, database)
    except Exception as error:  # noqa: BLE001  the sender must get an answer
        failure = _as_pneumo_error(error)
        note_disk_failure(failure, database)
        return _refuse(failure)
    if accepted is None:
        return _status(SUCCESS)
    acceptance, size = accepted
    receipt = acceptance.instances[0].outcome
    (log.warning if receipt is InstanceReceipt.CHANGED else log.info)(
        "instance_received",
        study_key=acceptance.study_key,
        receipt=receipt.value,
        bytes=size,
        seconds=round(time.perf_counter() - started, 3),
    )
    return _status(SUCCESS)


def _accept(event: Any, settings: Settings, database: Database) -> tuple[Acceptance, int] | None:
    """Return the acceptance and the file's size; None for a result of ours that came back."""
    part = event.request.DataSet.take()
    try:
        refuse_when_nearly_full(settings)
        header = checked_header(part.path)
        _refuse_other_instance(event.request, header)
        if is_own_result(header, database):
            return None
        stored = part.keep()
    finally:
        part.discard()
    acceptance = accept_instance(
        stored,
        header,
        priority=_priority(event, settings),
        site_ae_title=event.assoc.requestor.ae_title,
        database=database,
        settings=settings,
    )
    return acceptance, stored.size


def _refuse_other_instance(request: Any, header: InstanceHeader) -> None:
    """Refuse a data set of another instance than the request names: success would be for the wrong one."""
    asked = (str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
    if asked != (header.sop_class_uid, header.sop_instance_uid):
        raise Rejected(
            OTHER_INSTANCE,
            "The C-STORE request names another SOP Class or SOP Instance UID than its data set "
            "holds. Correct whatever changes identifiers on the way.",
        )


def _priority(event: Any, settings: Settings) -> Priority:
    """Return STAT for priority HIGH or the STAT AE title, since few senders can set the priority."""
    called = str(event.assoc.requestor.primitive.called_ae_title).strip()
    stat = event.request.Priority == HIGH or called == settings.stat_ae_title
    return Priority.STAT if stat else Priority.ROUTINE


def _as_pneumo_error(error: Exception) -> PneumoError:
    """Return any error as one of the four kinds; log the traceback of an unforeseen one."""
    if isinstance(error, PneumoError):
        return error
    if isinstance(error, MemoryError):
        return Resource("OUT_OF_MEMORY", "The instance does not fit into memory.")
    if isinstance(error, OSError):  # while reading back the file that was just written
        return Resource("DISK_ERROR", "The instance cannot be read back from the intake folder.")
    reference = log_traceback(error, log, code="LISTENER_FAILED")
    if isinstance(error, SQLAlchemyError):  # e.g. not migrated: works once somebody has done so
        return Transient("DATABASE_FAILED", f"See the traceback {reference} in the log.")
    return Bug("LISTENER_FAILED", f"See the traceback {reference} in the log.")


def _refuse(error: PneumoError) -> Dataset:
    log.warning("instance_refused", code=error.code, kind=error.kind.value)
    other = error.code == OTHER_INSTANCE
    return _status(STATUS_OTHER_INSTANCE if other else STATUS_OF_KIND[error.kind], error.code)


def _status(code: int, comment: str | None = None) -> Dataset:
    status = Dataset()
    status.Status = code
    if comment:
        status.ErrorComment = comment[:64]  # LO, PS3.5 6.2
    return status
