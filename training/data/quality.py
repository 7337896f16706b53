"""What a person should know of a set before training on it: one sentence for each issue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from training.data.duplicates import contradictory_groups, duplicate_groups
from training.data.pool import Pool
from training.data.text import counted, were


@dataclass(frozen=True, kw_only=True)
class QualityIssue:
    """Something about a set that is no error."""

    code: str
    """Stable, UPPER_SNAKE."""
    sentence: str
    """For a person, with counts."""


def quality_issues(pool: Pool) -> tuple[QualityIssue, ...]:
    """List every issue, files that were left out first."""
    return tuple(
        QualityIssue(code=code, sentence=sentence)
        for code, find in _CHECKS.items()
        for sentence in find(pool)
    )


def _skipped(pool: Pool) -> Iterator[str]:
    if pool.skipped:
        codes = Counter(skipped.code for skipped in pool.skipped)
        first = pool.skipped[0]
        yield (
            f"{were(len(pool.skipped), 'file')} left out: "
            f"{', '.join(f'{count} {code}' for code, count in codes.most_common())}. The first is "
            f"{first.shown_as}: {first.sentence}"
        )


def _labels_without_file(pool: Pool) -> Iterator[str]:
    if lines := pool.labels_without_file:
        yield (
            f"No file of the folder belongs to {counted(len(lines), 'label')}; the first is "
            f"{lines[0]}."
        )


def _files_without_label(pool: Pool) -> Iterator[str]:
    if pool.files_without_label:
        yield f"{were(pool.files_without_label, 'file')} left out for want of a label."


def _duplicates(pool: Pool) -> Iterator[str]:
    if groups := duplicate_groups(pool.radiographs):
        yield (
            f"{sum(map(len, groups))} images are byte-identical to another, in "
            f"{counted(len(groups), 'group')}; each group counts as one patient."
        )


def _contradictory(pool: Pool) -> Iterator[str]:
    if groups := contradictory_groups(pool.radiographs):
        names = " and ".join(pool.radiographs[row].shown_as for row in groups[0])
        yield (
            f"Identical images have both labels in {counted(len(groups), 'group')}; the first is "
            f"{names}."
        )


def _unknown_patients(pool: Pool) -> Iterator[str]:
    if unknown := sum(not r.patient_is_known for r in pool.radiographs):
        yield (
            f"The patients of {unknown} of {len(pool.radiographs)} images are unknown; each "
            "counts as a patient of its own. If patients have several images, give --groups."
        )


def _sizes(pool: Pool) -> Iterator[str]:
    sizes = {r.size for r in pool.radiographs if r.size}
    if len(sizes) > 1:
        rows, columns = zip(*sizes, strict=True)
        yield (
            f"The images have {len(sizes)} different sizes, {min(rows)} to {max(rows)} rows and "
            f"{min(columns)} to {max(columns)} columns; each is resized to the network's square."
        )


_CHECKS = {
    "FILES_LEFT_OUT": _skipped,
    "LABELS_WITHOUT_FILE": _labels_without_file,
    "FILES_WITHOUT_LABEL": _files_without_label,
    "DUPLICATES": _duplicates,
    "DUPLICATES_CONTRADICT": _contradictory,
    "PATIENTS_UNKNOWN": _unknown_patients,
    "SIZES_DIFFER": _sizes,
}
