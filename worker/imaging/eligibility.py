"""May this instance be predicted? A table of rules over its header, and one loop.

Every rule that is broken gives a refusal, so that whoever sends wrong images sees all reasons at
once. What is merely unknown or unusual gives a warning that is carried with the result.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.imaging.cautions import CAUTIONS, EligibilityWarning
from worker.imaging.header import InstanceHeader
from worker.imaging.policy import EligibilityPolicy, MultiFrame
from worker.imaging.refusals import Refusal, Step
from worker.imaging.rules import RULES
from worker.imaging.unreadable import refusal_of

__all__ = [
    "CAUTIONS",
    "RULES",
    "EligibilityPolicy",
    "EligibilityWarning",
    "Judgement",
    "MultiFrame",
    "judge",
]

_DEFAULT_POLICY = EligibilityPolicy()


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The outcome for one instance."""

    refusals: tuple[Refusal, ...]
    """Every rule it breaks, in the order of `RULES`; empty if it may be predicted."""
    warnings: tuple[EligibilityWarning, ...]
    """What is to be carried with its result."""
    frame_numbers: tuple[int, ...]
    """The frames to predict, counted from 1; empty if refused."""

    @property
    def eligible(self) -> bool:
        """Whether it may be predicted."""
        return not self.refusals


def judge(header: InstanceHeader, policy: EligibilityPolicy = _DEFAULT_POLICY) -> Judgement:
    """Hold a header against every rule. Pure; never raises but for want of memory.

    A rule that fails on a value that nobody foresaw refuses the instance as HEADER_UNREADABLE.
    """
    try:
        return _judged(header, policy)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  one header must not stop the others
        refusal = refusal_of(error, Step.ELIGIBILITY).refusal
        return Judgement(refusals=(refusal,), warnings=(), frame_numbers=())


def _judged(header: InstanceHeader, policy: EligibilityPolicy) -> Judgement:
    refusals = tuple(rule.refusal(header) for rule in RULES if not rule.passes(header, policy))
    warnings = tuple(
        EligibilityWarning(code=c.code, tag=c.tag, sentence=c.sentence(header, policy))
        for c in CAUTIONS
        if c.applies(header, policy)
    )
    frames = () if refusals else _frame_numbers(header, policy)
    return Judgement(refusals=refusals, warnings=warnings, frame_numbers=frames)


def _frame_numbers(header: InstanceHeader, policy: EligibilityPolicy) -> tuple[int, ...]:
    last = header.number_of_frames if policy.multi_frame is MultiFrame.EVERY else 1
    return tuple(range(1, last + 1))
