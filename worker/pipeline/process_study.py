"""Process a study: claim it, fetch it if necessary, read, check, normalise, predict, store."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, fields
from enum import StrEnum

import torch

from db.studies.claims import claim
from db.studies.intake import NOTHING_CAME, NOTHING_CAME_SENTENCE
from db.studies.results import store_result
from db.values import (
    Claim,
    ClaimedInstance,
    InstanceOutcome,
    NewPrediction,
    PriorPrediction,
    RefusalRecord,
    StepSeconds,
    StudyOutcome,
)
from db.vocabulary.enums import InstanceState, Lane, Verdict
from db.vocabulary.errors import StaleClaim
from worker.errors import Rejected, Transient
from worker.imaging.eligibility import check_eligibility
from worker.imaging.guarded_decoding import is_costly, normalise_in_child
from worker.imaging.normalisation_record import NormalisationRecord
from worker.imaging.pixels import normalise_frame
from worker.imaging.preprocessing import preprocess
from worker.imaging.reading import read_dataset, read_header
from worker.imaging.refusals import Refusal, RefusedInstance
from worker.inference.active_model import ActiveModel
from worker.inference.assessment import NOT_ASSESSED
from worker.inference.prior_predictions import latest_prior_predictions, with_prior_predictions
from worker.inference.shadow import ShadowFrame
from worker.inference.verdict import frame_verdict, study_verdict
from worker.logging import get_logger
from worker.model.predictor import Score
from worker.pipeline.failures import handle_failure
from worker.pipeline.runtime import Runtime
from worker.pipeline.stopwatch import Stopwatch
from worker.transactions import in_transaction

log = get_logger(__name__)

FRAMES_FOR_SHADOW = 32
"""Frames of a study whose input is kept for the shadow: a large study must not fill the memory."""


class ProcessingOutcome(StrEnum):
    """The outcome of one message."""

    STORED = "stored"
    """This claim stored a result."""
    DROPPED = "dropped"
    """Another worker has the study, or it is finished: the message came twice."""
    OVERTAKEN = "overtaken"
    """The claim expired and another worker took over; nothing of this attempt was stored."""
    RETRY = "retry"
    """The study is tried again when it is due."""
    PARKED = "parked"
    """The study waits for a person; its row has code, sentence and reference."""


@dataclass(frozen=True, kw_only=True)
class QueuedFrame:
    """A frame in the network's queue."""

    frame_number: int
    record: NormalisationRecord
    """What was done to its pixels, which are not kept: a large study must not fill the memory."""
    score: Future[Score]
    tensor: torch.Tensor | None
    """The network's input, kept for the shadow alone."""


@dataclass(frozen=True, kw_only=True)
class PreparedInstance:
    """An instance before inference has answered: refused, or with frames in the queue."""

    instance: ClaimedInstance
    refusals: tuple[Refusal, ...] = ()
    warnings: tuple[dict[str, object], ...] = ()
    frames: tuple[QueuedFrame, ...] = ()


def process_study(study_key: str, runtime: Runtime) -> ProcessingOutcome:
    """Process one study to its result; every failure is recorded in a row.

    Args:
        study_key: The opaque key from the message.
        runtime: The resources of this process.

    Returns:
        What happened; the study's row says more.
    """
    claimed = in_transaction(
        runtime.database,
        lambda session: claim(
            session,
            study_key,
            worker_name=runtime.identity.name,
            lease_s=runtime.settings.lease_s,
            lanes=runtime.identity.lanes,
        ),
    )
    if claimed is None:
        log.info("message_dropped")
        return ProcessingOutcome.DROPPED
    with runtime.leases.held(claimed):
        try:
            claimed = runtime.retriever.ensure_images(claimed)
            model = runtime.model
            outcome, watch, prepared = read_study(claimed, runtime, model)
            store(claimed, outcome, runtime)
        except StaleClaim:
            log.warning("claim_overtaken", attempt=claimed.token)
            return ProcessingOutcome.OVERTAKEN
        except Exception as error:  # noqa: BLE001  retried or parked by kind, never lost
            return ProcessingOutcome(
                handle_failure(claimed, error, runtime.database, runtime.settings).value
            )
    log.info(
        "study_stored",
        attempt=claimed.token,
        verdict=outcome.verdict.value,
        seconds=round(watch.total(), 3),
    )
    if model.shadow:
        model.shadow.submit_study(claimed, frames_for_shadow(prepared))
    return ProcessingOutcome.STORED


def read_study(
    claimed: Claim, runtime: Runtime, model: ActiveModel
) -> tuple[StudyOutcome, Stopwatch, list[PreparedInstance]]:
    """Check and predict every instance of a claimed study that this model has not predicted yet.

    An instance whose file was removed keeps its earlier outcome.

    Returns:
        The study's outcome, the time of its steps, and the instances that were read.

    Raises:
        Rejected: NOTHING_CAME, for a study without instances.
        Transient: FILE_MISSING.
    """
    if not claimed.instances:  # no images are not a negative
        raise Rejected(NOTHING_CAME, NOTHING_CAME_SENTENCE)
    watch = Stopwatch()
    stat, suspect = claimed.lane is Lane.STAT, claimed.lane is Lane.SUSPECT
    known = [p for instance in claimed.instances for p in existing_predictions(instance, model)]
    prepared: list[PreparedInstance] = []
    for instance in claimed.instances:
        if is_assessable(instance) and not existing_predictions(instance, model):
            room = FRAMES_FOR_SHADOW - sum(len(item.frames) for item in prepared)
            keep = room if model.shadow else 0
            prepared.append(
                prepare_instance(
                    instance, model, runtime, watch, stat=stat, keep=keep, suspect=suspect
                )
            )
    with watch.step("inference"):
        instances = tuple(outcome_of(item, model) for item in prepared)
    earlier = latest_prior_predictions(claimed.instances, excluding_model=model.record.id)
    return (
        with_prior_predictions(study_outcome(instances, known, model, watch), earlier),
        watch,
        prepared,
    )


def is_assessable(instance: ClaimedInstance) -> bool:
    """Whether an instance can be assessed; another model may accept what one refused."""
    if instance.file_removed:
        return False
    return instance.state is not InstanceState.REFUSED or instance.refusal_code == NOT_ASSESSED


def existing_predictions(instance: ClaimedInstance, model: ActiveModel) -> list[PriorPrediction]:
    """Return this model's predictions of the instance in an earlier revision, which remain valid."""
    version = model.manifest.preprocessing.version
    return [
        prior
        for prior in instance.prior
        if (prior.model_version_id, prior.preprocessing_version) == (model.record.id, version)
    ]


def prepare_instance(
    instance: ClaimedInstance,
    model: ActiveModel,
    runtime: Runtime,
    watch: Stopwatch,
    *,
    stat: bool,
    keep: int,
    suspect: bool = False,
) -> PreparedInstance:
    """Read one file, apply the eligibility table, and queue its frames for the network.

    `keep`: for how many frames the network's input is kept for the shadow. `suspect`: a worker died of
    this study, so its frames are decoded in a process of their own, as costly ones always are.
    """
    try:
        with watch.step("read"):
            path = runtime.storage.path_of(instance.file_name)
            header = read_header(path)
            judgement = check_eligibility(header, model.policy)
            if judgement.refusals:
                return PreparedInstance(instance=instance, refusals=judgement.refusals)
            dataset = None if suspect or is_costly(header) else read_dataset(path)
        frames: list[QueuedFrame] = []
        for number in judgement.frame_numbers:
            with watch.step("normalise"):
                spec = model.manifest.preprocessing
                normalised = (
                    normalise_in_child(path, spec, number, within_s=runtime.settings.decode_limit_s)
                    if dataset is None
                    else normalise_frame(dataset, spec, number)
                )
                tensor = preprocess(normalised.pixels, spec)
            score = model.batcher.submit(tensor, stat=stat)
            kept = tensor if len(frames) < keep else None
            frames.append(
                QueuedFrame(frame_number=number, record=normalised.record, score=score, tensor=kept)
            )
    except RefusedInstance as refused:
        return PreparedInstance(instance=instance, refusals=(refused.refusal,))
    except FileNotFoundError:
        raise Transient(
            "FILE_MISSING",
            "A file of this study is not in the intake folder. Check that this worker can read the "
            "intake folder of the listener (PNEUMO_STATE_DIR), then run `pneumo retry`.",
        ) from None
    return PreparedInstance(
        instance=instance,
        warnings=tuple(asdict(warning) for warning in judgement.warnings),
        frames=tuple(frames),
    )


def outcome_of(prepared: PreparedInstance, model: ActiveModel) -> InstanceOutcome:
    """Wait for the network's scores of one instance, and return its outcome."""
    if prepared.refusals:
        return InstanceOutcome(
            instance_id=prepared.instance.id, refusal=RefusalRecord(**asdict(prepared.refusals[0]))
        )
    answered = [(frame, frame.score.result()) for frame in prepared.frames]
    left_out = {f.frame_number: s for f, s in answered if model.assessment.leaves_out(s)}
    if answered and len(left_out) == len(answered):
        nearest = min(left_out.values(), key=lambda score: score.distance or 0.0)
        refusal = RefusalRecord(**asdict(model.assessment.refusal_of(nearest)))
        return InstanceOutcome(instance_id=prepared.instance.id, refusal=refusal)
    warnings = (*prepared.warnings, *model.assessment.warnings_of_left_out(sorted(left_out)))
    return InstanceOutcome(
        instance_id=prepared.instance.id,
        predictions=tuple(
            prediction_of(frame, score, warnings, model)
            for frame, score in answered
            if frame.frame_number not in left_out
        ),
    )


def frames_for_shadow(prepared: Sequence[PreparedInstance]) -> list[ShadowFrame]:
    """Return the frames for the shadow: those whose network input was kept."""
    return [
        ShadowFrame(
            instance_id=item.instance.id, frame_number=frame.frame_number, tensor=frame.tensor
        )
        for item in prepared
        for frame in item.frames
        if frame.tensor is not None
    ]


def prediction_of(
    frame: QueuedFrame,
    score: Score,
    warnings: Sequence[dict[str, object]],
    model: ActiveModel,
) -> NewPrediction:
    """Return one prediction: the score, the operating point, and what was done to the pixels."""
    threshold = model.manifest.threshold
    return NewPrediction(
        frame_number=frame.frame_number,
        model_version_id=model.record.id,
        preprocessing_version=model.manifest.preprocessing.version,
        logit=score.logit,
        probability=score.probability,
        threshold=threshold,
        verdict=frame_verdict(score.probability, threshold),
        distance=score.distance,
        device=model.predictor.device_name,
        normalisation=frame.record.to_dict(),
        warnings=(*warnings, *model.assessment.warnings_of(score)),
    )


def study_outcome(
    instances: tuple[InstanceOutcome, ...],
    known: Sequence[PriorPrediction],
    model: ActiveModel,
    watch: Stopwatch,
) -> StudyOutcome:
    """Return the study's outcome from the new and the known predictions of its instances."""
    new = [p.probability for instance in instances for p in instance.predictions]
    study = study_verdict([*new, *(p.probability for p in known)], model.manifest.threshold)
    return StudyOutcome(
        verdict=study.verdict,
        probability=study.probability,
        threshold=None if study.verdict is Verdict.REJECTED else model.manifest.threshold,
        model_version_id=model.record.id,
        device=model.predictor.device_name,
        instances=instances,
        seconds=StepSeconds(
            **{step.name: watch.seconds(step.name) for step in fields(StepSeconds)}
        ),
    )


def store(claimed: Claim, outcome: StudyOutcome, runtime: Runtime) -> None:
    """Store result and audit records in one transaction, under the claim's fencing token."""
    in_transaction(
        runtime.database,
        lambda session: store_result(session, claimed, outcome),
        timeout_s=runtime.settings.lease_s / 2,
    )
