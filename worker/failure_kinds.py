"""Which kind of failure an exception is: a table from error to kind, code and sentence."""

from __future__ import annotations

import torch
from sqlalchemy.exc import SQLAlchemyError

from db.engine.session import is_transient
from db.values import Failure
from db.vocabulary.enums import FailureKind
from worker.errors import PneumoError, Unavailable

PASSING = {FailureKind.TRANSIENT, FailureKind.RESOURCE}
"""Kinds that go away by themselves: the same work is tried again."""
DEVICE_FAILED = "DEVICE_FAILED"


def classify(error: BaseException) -> Failure:
    """Return the error's kind, code and sentence by the first row of the table that fits."""
    if isinstance(error, PneumoError):
        return Failure(
            kind=FailureKind(error.kind.value),
            code=error.code,
            sentence=error.sentence,
            retry_after_s=error.wait_s if isinstance(error, Unavailable) else None,
        )
    for fits, failure in _TABLE:
        if fits(error):
            return failure
    return Failure(
        kind=FailureKind.BUG,
        code="BUG",
        sentence=f"An unforeseen {type(error).__qualname__} was raised. Look up the reference in "
        "the worker's log, mend the cause, then run `pneumo retry`.",
    )


_OUT_OF_MEMORY = Failure(
    kind=FailureKind.RESOURCE,
    code="OUT_OF_MEMORY",
    sentence="Memory ran out even for a single frame; the study is tried again later. "
    "Lower PNEUMO_MAX_BATCH or the worker's -c if this repeats.",
)
_TABLE = (
    (
        lambda e: isinstance(e, SQLAlchemyError) and is_transient(e),
        Failure(
            kind=FailureKind.TRANSIENT,
            code="DATABASE_AWAY",
            sentence="The database did not answer; the study is tried again by itself.",
        ),
    ),
    (
        lambda e: isinstance(e, torch.OutOfMemoryError | MemoryError),
        _OUT_OF_MEMORY,
    ),
    (
        # torch says this of the CPU's memory in a plain RuntimeError
        lambda e: isinstance(e, RuntimeError) and "allocate memory" in str(e),
        _OUT_OF_MEMORY,
    ),
    (
        lambda e: isinstance(e, torch.AcceleratorError),
        Failure(
            kind=FailureKind.RESOURCE,
            code=DEVICE_FAILED,
            sentence="The accelerator reported an error after which its process cannot use it any "
            "more. The worker starts afresh and the study is tried again; look at the device "
            "(nvidia-smi, the system log) if this repeats.",
        ),
    ),
    (
        lambda e: isinstance(e, OSError),
        Failure(
            kind=FailureKind.TRANSIENT,
            code="FILE_SYSTEM_ERROR",
            sentence="A file could not be read from the intake folder; the study is tried again "
            "by itself. Check the disk if this repeats.",
        ),
    ),
)
