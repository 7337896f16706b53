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
    "EligibilityResult",
    "EligibilityWarning",
    "MultiFrame",
    "check_eligibility",
]

_DEFAULT_POLICY = EligibilityPolicy()


@dataclass(frozen=True, kw_only=True)
class EligibilityResult:
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


def check_eligibility(
    header: InstanceHeader, policy: EligibilityPolicy = _DEFAULT_POLICY
) -> EligibilityResult:
    """Hold a header against every rule. Pure; raises nothing but MemoryError.

    A rule that fails on a value that nobody foresaw refuses the instance as HEADER_UNREADABLE.
    """
    try:
        return _apply_rules(header, policy)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  one header must not stop the others
        refusal = refusal_of(error, Step.ELIGIBILITY).refusal
        return EligibilityResult(refusals=(refusal,), warnings=(), frame_numbers=())


def _apply_rules(header: InstanceHeader, policy: EligibilityPolicy) -> EligibilityResult:
    refusals = tuple(rule.refusal(header) for rule in RULES if not rule.passes(header, policy))
    warnings = tuple(
        EligibilityWarning(code=c.code, tag=c.tag, sentence=c.sentence(header, policy))
        for c in CAUTIONS
        if c.applies(header, policy)
    )
    frames = () if refusals else _frame_numbers(header, policy)
    return EligibilityResult(refusals=refusals, warnings=warnings, frame_numbers=frames)


def _frame_numbers(header: InstanceHeader, policy: EligibilityPolicy) -> tuple[int, ...]:
    last = header.number_of_frames if policy.multi_frame is MultiFrame.EVERY else 1
    return tuple(range(1, last + 1))
