"""The four kinds of failure, and the form that all our errors share: a code and a sentence.

A code is stable, and analysts count it. A sentence is for a person: it names what is wrong, which
value, what was expected and what to do. Neither ever holds a name, a patient id or a UID.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class ErrorKind(StrEnum):
    """What a failure means for its study."""

    REJECTED = "rejected"
    """The data cannot be used: recorded as a refusal, never retried."""

    TRANSIENT = "transient"
    """Network, database, lock: retried with backoff and jitter."""

    RESOURCE = "resource"
    """Memory, disk, device: retried smaller or later."""

    BUG = "bug"
    """Everything else: reported loudly, parked with a reference to its traceback."""


class PneumoError(Exception):
    """An error with a stable `code` (UPPER_SNAKE) and a `sentence` without personal data."""

    kind: ClassVar[ErrorKind] = ErrorKind.BUG

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence


class Rejected(PneumoError):
    """The input cannot be used, and trying again will not change that."""

    kind = ErrorKind.REJECTED


class Transient(PneumoError):
    """Something outside was unavailable; the same study will succeed later."""

    kind = ErrorKind.TRANSIENT


class Unavailable(Transient):
    """A system around us is unavailable, or refuses us for a reason that the site must correct.

    The study is retried every `wait_s` seconds for as long as it takes: no number of attempts parks
    it. A row of `site_condition` says what is wrong with `subject`.
    """

    def __init__(self, code: str, sentence: str, *, subject: str, wait_s: float = 0.0) -> None:
        super().__init__(code, sentence)
        self.subject = subject
        self.wait_s = wait_s


class Postponed(Transient):
    """Nothing failed: this process has enough work of the kind, and the study was not started.

    It is retried after `wait_s` seconds, as if it had not been claimed.
    """

    def __init__(self, code: str, sentence: str, *, wait_s: float) -> None:
        super().__init__(code, sentence)
        self.wait_s = wait_s


class Resource(PneumoError):
    """This machine had too little memory, disk or device; smaller or later will succeed."""

    kind = ErrorKind.RESOURCE


class Bug(PneumoError):
    """Our own mistake, or something that nobody foresaw."""

    kind = ErrorKind.BUG
