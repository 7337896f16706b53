"""The shadow: a second model version whose predictions are stored and decide nothing.

It gets the same tensors as the active model, after the study's result is stored, one study after the
other in its own thread. Its failures are counted and logged, and affect no result.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from db.engine.session import Database
from db.studies.shadow import store_shadow_predictions
from db.values import Claim, ModelRecord, NewShadowPrediction, ShadowStatus
from db.vocabulary.enums import Verdict
from worker.inference.verdict import frame_verdict
from worker.logging import get_logger
from worker.model.bundle import Bundle
from worker.model.predictor import Predictor, Score
from worker.transactions import in_transaction

log = get_logger(__name__)

MAX_PENDING_STUDIES = 16
"""Studies that may wait for the shadow; further ones are skipped, since they would fill the memory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ShadowFrame:
    """One frame that the active model has assessed."""

    instance_id: int
    """Row of its instance."""
    frame_number: int
    """From 1."""
    tensor: torch.Tensor
    """float32 (3, S, S), as given to the active model."""


class Shadow:
    """A verified bundle on its device, and the thread that predicts with it."""

    def __init__(
        self, record: ModelRecord, bundle: Bundle, predictor: Predictor, database: Database
    ) -> None:
        self.record = record
        self._manifest = bundle.manifest
        self._cut_off = bundle.guard.cut_off if bundle.guard else None
        self._predictor = predictor
        self._database = database
        self._stored = self._failed = self._skipped = 0
        self._waiting: queue.Queue[tuple[Claim, Sequence[ShadowFrame]] | None] = queue.Queue(
            MAX_PENDING_STUDIES
        )
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def status(self) -> ShadowStatus:
        """Return how many studies it stored, failed on and skipped since it was loaded."""
        return ShadowStatus(
            model_name=self.record.name,
            stored=self._stored,
            failed=self._failed,
            skipped=self._skipped,
        )

    def submit_study(self, claim: Claim, frames: Sequence[ShadowFrame]) -> None:
        """Enqueue a finished study, or skip it if too many wait; never blocks."""
        if not frames or self._closing.is_set():
            return
        try:
            self._waiting.put_nowait((claim, frames))
        except queue.Full:
            self._skipped += 1

    def close(self) -> None:
        """End its thread after the present study; those that wait are skipped."""
        self._closing.set()
        with contextlib.suppress(
            queue.Full
        ):  # then the thread sees the event before its next study
            self._waiting.put_nowait(None)
        self._thread.join(timeout=10)
        self._predictor.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            taken = self._waiting.get()
            if taken is None:
                return
            try:
                self._predict(*taken)
            except Exception as error:  # noqa: BLE001  a shadow's failure affects no result
                self._failed += 1
                log.warning(
                    "shadow_failed", model=self.record.name, error_type=type(error).__name__
                )
            else:
                self._stored += 1

    def _predict(self, claim: Claim, frames: Sequence[ShadowFrame]) -> None:
        scores = self._predictor.predict(torch.stack([frame.tensor for frame in frames]))
        predictions = [self._prediction(f, s) for f, s in zip(frames, scores, strict=True)]
        in_transaction(
            self._database, lambda session: store_shadow_predictions(session, claim, predictions)
        )

    def _prediction(self, frame: ShadowFrame, score: Score) -> NewShadowPrediction:
        threshold = self._manifest.threshold
        far = self._cut_off is not None and (score.distance or 0.0) > self._cut_off
        return NewShadowPrediction(
            instance_id=frame.instance_id,
            frame_number=frame.frame_number,
            model_version_id=self.record.id,
            preprocessing_version=self._manifest.preprocessing.version,
            logit=score.logit,
            probability=score.probability,
            threshold=threshold,
            verdict=Verdict.REJECTED if far else frame_verdict(score.probability, threshold),
            distance=score.distance,
            device=self._predictor.device_name,
        )
