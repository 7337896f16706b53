"""What cannot be read: a header (HEADER_UNREADABLE), or one element that decides (ELEMENT_UNREADABLE).

Any element may hold anything, and pydicom parses on access. So a boundary lets out refusals and what is
the machine's fault; all else refuses the one instance, and its traceback is kept for operators.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from pydicom.datadict import dictionary_description, tag_for_keyword

from worker.errors import PneumoError
from worker.imaging.refusals import RefusedInstance, Step, refused
from worker.logging import get_logger, log_traceback

log = get_logger(__name__)

HEADER_UNREADABLE = "HEADER_UNREADABLE"
ELEMENT_UNREADABLE = "ELEMENT_UNREADABLE"
UNREADABLE_VALUE = "a value that cannot be read"
ELEMENT_ADVICE = "Its source must write a value that PS3.5 allows, or none."
_ADVICE = "Send the instance again; if it stays so, its source writes broken files."
_P = ParamSpec("_P")
_R = TypeVar("_R")


def element_name(keyword: str) -> str:
    """Return an element as refusals name it: "Rows" -> "(0028,0010) Rows"."""
    tag = tag_for_keyword(keyword) or 0
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {dictionary_description(tag)}"


def unreadable(
    *, found: str, expected: str, keyword: str | None = None, step: Step = Step.HEADER
) -> RefusedInstance:
    """Return the refusal of one element, or of a file of which nobody knows which element it is."""
    return refused(
        HEADER_UNREADABLE,
        step=step,
        tag=element_name(keyword) if keyword else None,
        found=found,
        expected=expected,
        advice=_ADVICE,
    )


def element_unreadable(keyword: str, *, expected: str, step: Step) -> RefusedInstance:
    """The refusal of one element that decides and whose value means nothing: it is not absent."""
    return refused(
        ELEMENT_UNREADABLE,
        step=step,
        tag=element_name(keyword),
        found=UNREADABLE_VALUE,
        expected=expected,
        advice=ELEMENT_ADVICE,
    )


def refuses_the_unforeseen(step: Step) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Decorate a boundary: whatever else is raised in it becomes a refusal of this one instance.

    Let through: our own errors, MemoryError (the machine's, to be tried again) and an OSError of the
    file system. What is turned into a refusal was foreseen by nobody, so the sentence says under which
    reference the log has its traceback.
    """

    def decorate(boundary: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(boundary)
        def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            try:
                return boundary(*args, **kwargs)
            except (PneumoError, MemoryError):
                raise
            except Exception as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                raise refusal_of(error, step) from error

        return guarded

    return decorate


def refusal_of(error: Exception, step: Step) -> RefusedInstance:
    """Keep the traceback of what nobody foresaw, and refuse the instance that caused it."""
    reference = log_traceback(error, log, code=HEADER_UNREADABLE, step=step.value)
    return unreadable(
        found=f"a value that made reading fail (reference {reference} in the log)",
        expected="elements as PS3.5 and PS3.6 define them",
        step=step,
    )
