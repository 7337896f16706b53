"""The result of one revision of a study, as the objects for the PACS need it.

Values only: the delivery reads rows and headers and fills them in. A parked study has no result and
cannot be expressed here; a study of which nothing could be assessed can, since that is a result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pydicom.dataset import Dataset

from worker.errors import Bug
from worker.imaging.header_values import integer, text
from worker.model.manifest import BundleManifest


class ResultVerdict(StrEnum):
    """The result of a frame or a study, with the values of `db.vocabulary.enums.Verdict`.

    Its own enum, since this room knows no database (a contract in pyproject.toml), and a parked study
    (`failed`) has no result.
    """

    POSITIVE = "positive"
    """Probability at or above the operating point."""
    NEGATIVE = "negative"
    """Probability below the operating point."""
    REJECTED = "rejected"
    """Nothing could be assessed."""


@dataclass(frozen=True, kw_only=True)
class ModelUsed:
    """The network that gave the result."""

    name: str
    """e.g. `resnet50`."""
    version: str
    """e.g. `0.2.0`."""
    bundle_digest: str
    """SHA-256 of the bundle's manifest, 64 hex digits: identifies weights, recipe and threshold."""
    threshold: float
    """Operating point on the calibrated probability."""
    preprocessing_version: str
    """The recipe from stored values to the network's input."""

    @classmethod
    def of(cls, manifest: BundleManifest) -> ModelUsed:
        """Return the network of a bundle."""
        return cls(
            name=manifest.model_name,
            version=manifest.model_version,
            bundle_digest=manifest.digest,
            threshold=manifest.threshold,
            preprocessing_version=manifest.preprocessing.version,
        )

    @property
    def label(self) -> str:
        """Name and version, as in every table: `resnet50-0.2.0`."""
        return f"{self.name}-{self.version}"


@dataclass(frozen=True, kw_only=True)
class FrameResult:
    """What the network said of one frame."""

    frame_number: int
    """Counted from 1."""
    probability: float
    """Calibrated, in [0, 1]."""
    verdict: ResultVerdict
    """positive or negative."""
    predicted_at: datetime
    """When it was stored, with its time zone."""
    warnings: tuple[str, ...] = ()
    """Sentences about the score, e.g. that the patient is older than the training set's."""


@dataclass(frozen=True, kw_only=True)
class NotEvaluated:
    """Why an image got no score."""

    code: str
    """The refusal's code."""
    sentence: str
    """The refusal's sentence, without personal data."""


@dataclass(frozen=True, kw_only=True, eq=False)
class InstanceResult:
    """One instance of the study: predicted, frame by frame, or not evaluated."""

    header: Dataset = field(repr=False)
    """Its elements as they came; pixels are not needed. Personal, so never shown."""
    frames: tuple[FrameResult, ...] = ()
    """Predictions; empty if it was not evaluated."""
    not_evaluated: NotEvaluated | None = None
    """Why it was not; None if it was."""
    is_here: bool = True
    """Whether its file is here; otherwise the header holds UIDs alone, and there is no picture."""

    @property
    def uid(self) -> str:
        """SOP Instance UID."""
        return text(self.header, "SOPInstanceUID") or ""

    @property
    def leading_frame(self) -> FrameResult:
        """The frame that decides the instance's result: the most probable one, the first of equals."""
        return max(self.frames, key=lambda frame: (frame.probability, -frame.frame_number))


@dataclass(frozen=True, kw_only=True)
class Predecessor:
    """A result that this one replaces, as it was sent."""

    sop_instance_uid: str | None = field(repr=False)
    """Of its structured report; None if nobody got one."""
    series_instance_uid: str | None = field(repr=False)
    """Of its structured report; None if nobody got one."""
    model: str
    """Label of the network that gave it, e.g. `resnet50-0.1.0`."""
    revision: int
    """Revision of the study that it was about."""
    finished_at: datetime
    """When it was stored."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyResult:
    """One model's result for one revision of a study."""

    study_key: str
    """The study's opaque key, from which the UIDs of our objects are made."""
    revision: int
    """Revision of the study, from 1."""
    model: ModelUsed
    """The network that gave it."""
    verdict: ResultVerdict
    """The study's verdict."""
    finished_at: datetime
    """When the study's verdict was stored; all our objects carry this time, never the present one."""
    instances: tuple[InstanceResult, ...]
    """Every instance of the study, in any order."""
    supersedes: Predecessor | None = None
    """The result that was sent before; None for the first one."""
    earlier_forms: tuple[Predecessor, ...] = ()
    """Its own reports that may have arrived, in the order in which they were begun: with other result
    settings, or by another version of pneumo. The one that is built now may be among them."""

    def __post_init__(self) -> None:
        for holds, code, sentence in _CONDITIONS:
            if not holds(self):
                raise Bug(code, sentence)

    @property
    def in_order(self) -> tuple[InstanceResult, ...]:
        """The instances by Instance Number, then by UID, independent of the order of rows.

        Those whose files were removed come last, so that the first one identifies the patient.
        """
        return tuple(
            sorted(
                self.instances,
                key=lambda item: (
                    not item.is_here,
                    integer(item.header, "SeriesNumber") or 0,
                    integer(item.header, "InstanceNumber") or 0,
                    item.uid,
                ),
            )
        )

    @property
    def evaluated(self) -> tuple[InstanceResult, ...]:
        """The instances with a score, in order."""
        return tuple(item for item in self.in_order if item.frames)

    @property
    def left_out(self) -> tuple[InstanceResult, ...]:
        """The instances without a score, in order."""
        return tuple(item for item in self.in_order if not item.frames)

    @property
    def probability(self) -> float | None:
        """The highest of all frames; None if nothing was evaluated."""
        return max((item.leading_frame.probability for item in self.evaluated), default=None)


def _frames(result: StudyResult) -> list[FrameResult]:
    return [frame for item in result.instances for frame in item.frames]


def _agrees(verdict: ResultVerdict, probability: float | None, threshold: float) -> bool:
    if probability is None:
        return verdict is ResultVerdict.REJECTED
    return verdict is (
        ResultVerdict.POSITIVE if probability >= threshold else ResultVerdict.NEGATIVE
    )


_CONDITIONS: tuple[tuple[Callable[[StudyResult], bool], str, str], ...] = (
    # what must hold, code, sentence
    (
        lambda r: bool(r.instances),
        "RESULT_WITHOUT_INSTANCE",
        "A result names the instances of its study; found none. Pass every instance's row.",
    ),
    (
        lambda r: all(bool(i.frames) != bool(i.not_evaluated) for i in r.instances),
        "RESULT_UNDECIDED",
        "An instance has predictions or a reason why it has none; found both or neither. Pass one.",
    ),
    (
        lambda r: len({text(i.header, "StudyInstanceUID") for i in r.instances}) == 1,
        "RESULT_OF_SEVERAL_STUDIES",
        "A result is about one study; the headers name several. Pass one study's instances.",
    ),
    (
        lambda r: len({i.uid for i in r.instances}) == len(r.instances),
        "RESULT_NAMES_TWICE",
        "A result names each instance once; found one twice. Pass each row once.",
    ),
    (
        lambda r: all(math.isfinite(f.probability) and 0 <= f.probability <= 1 for f in _frames(r)),
        "RESULT_NO_PROBABILITY",
        "A probability is between 0 and 1; found another number. It must not reach a PACS.",
    ),
    (
        lambda r: (
            all(_agrees(f.verdict, f.probability, r.model.threshold) for f in _frames(r))
            and _agrees(r.verdict, r.probability, r.model.threshold)
        ),
        "RESULT_CONTRADICTS_ITSELF",
        "A verdict follows from probability and threshold; here it does not. Pass rows of one result.",
    ),
    (
        lambda r: all(
            moment.tzinfo is not None
            for moment in (
                r.finished_at,
                *(f.predicted_at for f in _frames(r)),
                *([r.supersedes.finished_at] if r.supersedes else []),
                *(form.finished_at for form in r.earlier_forms),
            )
        ),
        "RESULT_WITHOUT_TIME_ZONE",
        "A time has a time zone; found one without. Rows are in UTC: pass aware times.",
    ),
)
