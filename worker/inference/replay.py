"""Compute a recorded prediction again, from the kept file, and say what differs.

The model version, its preprocessing and its operating point are those recorded, whichever are active
now. The network runs on the CPU in fp32, whatever computed the prediction, so that the answer depends
on this machine as little as possible.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from db.values import ModelRecord, RecordedPrediction
from worker.errors import PneumoError, Rejected
from worker.imaging.guarded_decoding import is_costly, normalise_in_child
from worker.imaging.normalisation_record import NormalisationRecord
from worker.imaging.pixels import normalise_frame
from worker.imaging.preprocessing import preprocess
from worker.imaging.reading import read_dataset, read_header
from worker.imaging.refusals import RefusedInstance
from worker.inference.active_model import find_bundle
from worker.inference.verdict import frame_verdict
from worker.model.bundle import load_bundle
from worker.model.calibration import calibrated_probability
from worker.model.manifest import BundleManifest
from worker.model.predictor import Predictor, Score
from worker.settings import Settings
from worker.storage.intake_folder import IntakeStorage
from worker.storage.untrusted_files import unreadable

TOLERANCE = 1e-3
"""Logits, and distances by share, may move so much between devices and processors, whose kernels add in
another order: 2.4e-5 was measured. Another recipe or weight moves them far more."""


class ReplayOutcome(StrEnum):
    """What came of computing a prediction again."""

    EQUAL = "equal"
    """Every recorded figure came out again, to the bit."""
    EQUAL_WITHIN_TOLERANCE = "equal within tolerance"
    """Logit, probability and distance moved by less than devices may differ; the rest is equal."""
    DIFFERS = "differs"
    """Something recorded did not come out again."""
    NOT_REPLAYED = "not replayed"
    """The file or the bundle is not here any more: code and sentence say which."""


@dataclass(frozen=True, kw_only=True)
class ReplayDifference:
    """One figure that came out otherwise."""

    name: str
    """Of the figure, e.g. `logit` or `normalisation.window_center`."""
    recorded: str
    """As the row has it."""
    computed: str
    """As it came out now."""
    is_tolerable: bool = False
    """Whether devices may differ so much."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """One prediction, and what came of computing it again."""

    prediction: RecordedPrediction
    outcome: ReplayOutcome
    differences: tuple[ReplayDifference, ...] = ()
    code: str | None = None
    """Why it could not be replayed."""
    sentence: str | None = None
    """The same for a person."""

    @property
    def succeeded(self) -> bool:
        """Whether the recorded prediction was confirmed."""
        return self.outcome in {ReplayOutcome.EQUAL, ReplayOutcome.EQUAL_WITHIN_TOLERANCE}


class Replayer:
    """Computes predictions again; each bundle is loaded once."""

    def __init__(self, settings: Settings, models: list[ModelRecord]) -> None:
        self._settings = settings
        self._models = {model.name: model for model in models}
        self._storage = IntakeStorage(settings.intake_dir)
        self._loaded: dict[str, tuple[BundleManifest, Predictor]] = {}

    def replay(self, prediction: RecordedPrediction) -> Replay:
        """Compute one prediction again. Whatever keeps it from being computed becomes the outcome."""
        try:
            differences = tuple(self._differences(prediction))
        except PneumoError as error:
            return Replay(
                prediction=prediction,
                outcome=ReplayOutcome.NOT_REPLAYED,
                code=error.code,
                sentence=error.sentence,
            )
        return Replay(
            prediction=prediction, outcome=_outcome_of(differences), differences=differences
        )

    def close(self) -> None:
        """Give back the threads of the loaded networks."""
        for _, predictor in self._loaded.values():
            predictor.close()

    def _differences(self, prediction: RecordedPrediction) -> Iterator[ReplayDifference]:
        """Yield what differs: file, registered bundle, normalisation, then the figures."""
        path = self._kept_file(prediction)
        manifest, predictor = self._load(prediction.model_name)
        yield from _differing("file_sha256", prediction.file_sha256, _sha256(path))
        yield from _bundle_differences(self._models[prediction.model_name], manifest)
        yield from _differing(
            "preprocessing", prediction.preprocessing_version, manifest.preprocessing.version
        )
        yield from _differing("threshold", prediction.threshold, manifest.threshold)
        try:
            record, score = self._predict(path, prediction.frame_number, manifest, predictor)
        except RefusedInstance as refused:
            yield from _differing("frame", "predicted", f"refused with {refused.code}")
            return
        yield from _normalisation_differences(prediction, record)
        yield from _score_differences(prediction, score, manifest)

    def _kept_file(self, prediction: RecordedPrediction) -> Path:
        if prediction.file_removed:
            raise Rejected(
                "FILE_REMOVED",
                "The retention rule has removed the file that this prediction was made from. Have the "
                "study sent again and repeat the command: nothing is predicted twice.",
            )
        if not self._storage.holds(prediction.file_name):
            raise Rejected(
                "FILE_MISSING",
                "The file that this prediction was made from is not in this machine's intake folder. "
                "Run the command where the intake folder is (PNEUMO_STATE_DIR).",
            )
        return self._storage.path_of(prediction.file_name)

    def _load(self, name: str) -> tuple[BundleManifest, Predictor]:
        if name not in self._loaded:
            bundle = load_bundle(find_bundle(self._models[name], self._settings))
            predictor = Predictor(bundle, device="cpu", max_batch=1, cpu_threads=1)
            self._loaded[name] = bundle.manifest, predictor
        return self._loaded[name]

    def _predict(
        self, path: Path, frame_number: int, manifest: BundleManifest, predictor: Predictor
    ) -> tuple[NormalisationRecord, Score]:
        spec = manifest.preprocessing
        try:
            if is_costly(read_header(path)):
                limit = self._settings.decode_limit_s
                frame = normalise_in_child(path, spec, frame_number, within_s=limit)
            else:
                frame = normalise_frame(read_dataset(path), spec, frame_number)
        except OSError as error:
            raise unreadable(error) from None
        (score,) = predictor.predict(preprocess(frame.pixels, spec)[None])
        return frame.record, score


def _outcome_of(differences: tuple[ReplayDifference, ...]) -> ReplayOutcome:
    if not differences:
        return ReplayOutcome.EQUAL
    if all(difference.is_tolerable for difference in differences):
        return ReplayOutcome.EQUAL_WITHIN_TOLERANCE
    return ReplayOutcome.DIFFERS


def _differing(name: str, recorded: object, computed: object) -> Iterator[ReplayDifference]:
    """Yield a difference unless both are equal to the bit."""
    if recorded != computed:
        yield ReplayDifference(name=name, recorded=str(recorded), computed=str(computed))


def _bundle_differences(model: ModelRecord, manifest: BundleManifest) -> Iterator[ReplayDifference]:
    """Compare the registered version with the bundle itself; the digest covers every file of it."""
    for name, registered, stated in (
        ("bundle_digest", model.bundle_digest, manifest.digest),
        ("registered threshold", model.threshold, manifest.threshold),
        ("registered temperature", model.temperature, manifest.temperature),
        ("registered bias", model.bias, manifest.bias),
    ):
        yield from _differing(name, registered, stated)


def _normalisation_differences(
    prediction: RecordedPrediction, record: NormalisationRecord
) -> Iterator[ReplayDifference]:
    computed: dict[str, Any] = record.to_dict()
    for name in sorted({*computed, *prediction.normalisation}):
        yield from _differing(
            f"normalisation.{name}",
            prediction.normalisation.get(name, "not recorded"),
            computed.get(name, "not recorded"),
        )


def _score_differences(
    prediction: RecordedPrediction, score: Score, manifest: BundleManifest
) -> Iterator[ReplayDifference]:
    """Compare the network's figures, which devices may move a little, and the verdict, which they may not."""
    for name, is_tolerable in (
        ("logit", math.isclose(prediction.logit, score.logit, abs_tol=TOLERANCE)),
        ("probability", _follows_from_logit(prediction, manifest)),
        ("distance", _is_close(prediction.distance, score.distance)),
    ):
        for difference in _differing(name, getattr(prediction, name), getattr(score, name)):
            yield replace(difference, is_tolerable=is_tolerable)
    verdict = frame_verdict(score.probability, manifest.threshold)
    yield from _differing("verdict", prediction.verdict.value, verdict.value)


def _follows_from_logit(prediction: RecordedPrediction, manifest: BundleManifest) -> bool:
    """Whether the recorded probability is that of the recorded logit: no device moves it on its own."""
    expected = calibrated_probability(
        prediction.logit, temperature=manifest.temperature, bias=manifest.bias
    )
    return math.isclose(prediction.probability, expected, rel_tol=1e-9)


def _is_close(recorded: float | None, computed: float | None) -> bool:
    if recorded is None or computed is None:
        return False
    return math.isclose(recorded, computed, rel_tol=TOLERANCE)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(error) from None
