"""Check that everything the demo promises is true, and say what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from db.values import AuditReport, StudyDetail
from db.vocabulary.enums import Verdict
from worker.demo.studies import LOSSLESS, DemoStudy
from worker.settings import Settings

PERSONAL = (
    "PatientName",
    "PatientID",
    "AccessionNumber",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
)
"""Attributes whose values must not appear in a log."""
TOLERANCE = 1e-6
"""Largest difference between the probabilities of lossless encodings of one image."""


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One promise, and whether it was kept."""

    holds: bool
    """Whether it was kept."""
    sentence: str
    """For a person."""


@dataclass(frozen=True, kw_only=True)
class SentStudy:
    """A study that was sent, and what the database says about it."""

    study: DemoStudy
    """What was sent."""
    detail: StudyDetail
    """What is recorded."""

    @property
    def refusal_codes(self) -> list[str]:
        """The codes with which its instances were refused."""
        return [i.refusal.code for i in self.detail.instances if i.refusal]

    @property
    def outcome(self) -> str:
        """The outcome with its codes, e.g. "failed BUG", "rejected VIEW_NOT_FRONTAL"."""
        summary = self.detail.summary
        outcome = summary.verdict or summary.state
        codes = [summary.error_code] if summary.error_code else self.refusal_codes
        return " ".join([outcome.value, *codes])


def run_checks(
    studies: Sequence[DemoStudy], sent: Sequence[SentStudy], audit: AuditReport, settings: Settings
) -> list[CheckResult]:
    """Check every promise of the demo."""
    return [
        *(check_outcome(item) for item in sent),
        CheckResult(
            holds=len(sent) == len(studies),
            sentence=f"{len(sent)} of {len(studies)} studies that were sent are in the database",
        ),
        check_lossless(sent),
        check_stat_lane(sent),
        CheckResult(
            holds=audit.ok,
            sentence=f"the audit chain of {audit.records} records is unbroken"
            if audit.ok
            else f"the audit chain is broken: {audit.first_broken}",
        ),
        check_privacy(sent, settings),
    ]


def check_outcome(item: SentStudy) -> CheckResult:
    """Check that the study was predicted, or refused with the expected code."""
    study, codes = item.study, item.refusal_codes
    verdict = item.detail.summary.verdict
    if study.refusal is None:
        holds = verdict in (Verdict.POSITIVE, Verdict.NEGATIVE)
        promise = f"{study.title} ({study.syntax_name}) was predicted"
    else:
        holds = verdict is Verdict.REJECTED and codes == [study.refusal]
        promise = f"{study.title} was refused as {study.refusal}"
    return CheckResult(
        holds=holds, sentence=promise if holds else f"{promise}; found {item.outcome}"
    )


def check_no_restarts(died: Sequence[str]) -> CheckResult:
    """Check that no part had to be restarted."""
    return CheckResult(holds=not died, sentence=" ".join(died) or "no part died")


def check_lossless(sent: Sequence[SentStudy]) -> CheckResult:
    """Check that all lossless encodings of one radiograph give one probability."""
    chests = [item for item in sent if item.study.refusal is None]
    values = [p for item in chests if (p := item.detail.summary.probability) is not None]
    spread = max(values) - min(values) if values else float("inf")
    encodings = {item.study.syntax for item in chests}
    return CheckResult(
        holds=spread <= TOLERANCE and encodings == set(LOSSLESS) and len(values) == len(chests),
        sentence=f"{len(encodings)} lossless encodings give the same probability "
        f"(largest difference {spread:.1e}, allowed {TOLERANCE:.0e})",
    )


def check_stat_lane(sent: Sequence[SentStudy]) -> CheckResult:
    """Check that what was sent with priority HIGH went through the stat lane, and nothing else did."""
    return CheckResult(
        holds=all(
            item.detail.summary.priority is item.study.priority
            and all(
                attempt.lane.value == item.study.priority.value for attempt in item.detail.attempts
            )
            for item in sent
        ),
        sentence="the STAT study went through the stat lane, the others through routine",
    )


def check_privacy(sent: Sequence[SentStudy], settings: Settings) -> CheckResult:
    """Check that no name, identifier or UID that was sent appears in a log."""
    planted = {
        str(item.study.dataset.get(keyword, "")) for item in sent for keyword in PERSONAL
    } - {""}
    text = "".join(log.read_text(errors="replace") for log in settings.log_dir.glob("*.log"))
    return CheckResult(
        holds=bool(text) and not any(word in text for word in planted),
        sentence=f"none of {len(planted)} names, ids and UIDs that were sent appears in a log",
    )
