"""The whole story of a study: claimed, fetched if need be, read, judged, normalised, inferred, stored."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from enum import StrEnum

import torch

from db.claims import claim
from db.enums import InstanceState, Lane, Verdict
from db.errors import StaleClaim
from db.intake import NOTHING_CAME, NOTHING_CAME_SENTENCE
from db.records import (
    Claim,
    ClaimedInstance,
    InstanceOutcome,
    NewPrediction,
    PriorPrediction,
    RefusalRecord,
    StepSeconds,
    StudyOutcome,
)
from db.results import store_result
from worker.active_model import ActiveModel
from worker.assessment import NOT_ASSESSED
from worker.earlier import predictions_that_stand, with_earlier
from worker.errors import Rejected, Transient
from worker.failures import settle_failure
from worker.imaging.eligibility import judge
from worker.imaging.guarded_decoding import is_costly, normalise_in_child
from worker.imaging.normalisation_record import NormalisationRecord
from worker.imaging.pixels import normalise_frame
from worker.imaging.preprocessing import preprocess
from worker.imaging.reading import read_dataset, read_header
from worker.imaging.refusals import Refusal, RefusedInstance
from worker.logging import get_logger
from worker.model.predictor import Score
from worker.patience import in_transaction
from worker.runtime import Runtime
from worker.shadow import ShadowFrame
from worker.stopwatch import Stopwatch
from worker.verdict import judge_probability, judge_study

log = get_logger(__name__)

FRAMES_FOR_SHADOW = 32
"""Frames of a study whose input is kept for the shadow: a large one must not fill the memory."""


class StudyEnd(StrEnum):
    """What came of one message."""

    STORED = "stored"
    """A result was written by this claim."""
    DROPPED = "dropped"
    """Somebody else has the study, or it is finished: a message that came twice."""
    OVERTAKEN = "overtaken"
    """The claim ran out and was taken over; nothing of this attempt was written."""
    RETRY = "retry"
    """The study will be tried again when it is due."""
    PARKED = "parked"
    """The study waits for a person, with code, sentence and reference."""


@dataclass(frozen=True, kw_only=True)
class QueuedFrame:
    """A frame on its way through the network."""

    frame_number: int
    record: NormalisationRecord
    """What was done to its pixels, which are not kept: a large study must not fill the memory."""
    score: Future[Score]
    tensor: torch.Tensor | None
    """The network's input, kept for the shadow alone."""


@dataclass(frozen=True, kw_only=True)
class JudgedInstance:
    """An instance before inference has answered: refused, or with frames in the queue."""

    instance: ClaimedInstance
    refusals: tuple[Refusal, ...] = ()
    warnings: tuple[dict[str, object], ...] = ()
    frames: tuple[QueuedFrame, ...] = ()


def process_study(study_key: str, runtime: Runtime) -> StudyEnd:
    """Bring one study to its result; every failure ends in a row, none in silence."""
    claimed = in_transaction(
        runtime.database,
        lambda session: claim(
            session,
            study_key,
            worker_name=runtime.identity.name,
            lease_s=runtime.site.lease_s,
            lanes=runtime.identity.lanes,
        ),
    )
    if claimed is None:
        log.info("message_dropped")
        return StudyEnd.DROPPED
    with runtime.leases.held(claimed):
        try:
            claimed = runtime.retriever.with_images(claimed)
            model = runtime.model
            outcome, watch, judged = read_study(claimed, runtime, model)
            store(claimed, outcome, runtime)
        except StaleClaim:
            log.warning("claim_overtaken", attempt=claimed.token)
            return StudyEnd.OVERTAKEN
        except Exception as error:  # noqa: BLE001  settled by kind: retried, parked, never lost
            return StudyEnd(settle_failure(claimed, error, runtime).value)
    log.info(
        "study_stored",
        attempt=claimed.token,
        verdict=outcome.verdict.value,
        seconds=round(watch.total(), 3),
    )
    if model.shadow:
        model.shadow.look_at(claimed, frames_for_shadow(judged))
    return StudyEnd.STORED


def read_study(
    claimed: Claim, runtime: Runtime, model: ActiveModel
) -> tuple[StudyOutcome, Stopwatch, list[JudgedInstance]]:
    """Judge and infer every instance of a claimed study that this model has not predicted yet.

    An instance whose file has left keeps its earlier outcome.
    """
    if not claimed.instances:  # no images are no negative
        raise Rejected(NOTHING_CAME, NOTHING_CAME_SENTENCE)
    watch = Stopwatch()
    stat, suspect = claimed.lane is Lane.STAT, claimed.lane is Lane.SUSPECT
    known = [p for instance in claimed.instances for p in predictions_kept(instance, model)]
    judged: list[JudgedInstance] = []
    for instance in claimed.instances:
        if is_open(instance) and not predictions_kept(instance, model):
            room = FRAMES_FOR_SHADOW - sum(len(item.frames) for item in judged)
            keep = room if model.shadow else 0
            judged.append(
                judge_instance(
                    instance, model, runtime, watch, stat=stat, keep=keep, suspect=suspect
                )
            )
    with watch.step("inference"):
        instances = tuple(outcome_of(item, model) for item in judged)
    stands = predictions_that_stand(claimed.instances, but_of=model.record.id)
    return with_earlier(conclude(instances, known, model, watch), stands), watch, judged


def is_open(instance: ClaimedInstance) -> bool:
    """Whether an instance may still be assessed: what a model refused, another may not."""
    if instance.file_removed:
        return False
    return instance.state is not InstanceState.REFUSED or instance.refusal_code == NOT_ASSESSED


def predictions_kept(instance: ClaimedInstance, model: ActiveModel) -> list[PriorPrediction]:
    """What this model said of the instance in an earlier revision; that stands and is not redone."""
    version = model.manifest.preprocessing.version
    return [
        prior
        for prior in instance.prior
        if (prior.model_version_id, prior.preprocessing_version) == (model.record.id, version)
    ]


def judge_instance(
    instance: ClaimedInstance,
    model: ActiveModel,
    runtime: Runtime,
    watch: Stopwatch,
    *,
    stat: bool,
    keep: int,
    suspect: bool = False,
) -> JudgedInstance:
    """Read one file, apply the eligibility table, put its frames before the network.

    `keep`: of so many frames the network's input is kept for the shadow. `suspect`: a worker died of this
    study, so its frames are decoded in a process of their own, as costly ones always are.
    """
    try:
        with watch.step("read"):
            path = runtime.storage.path_of(instance.file_name)
            header = read_header(path)
            judgement = judge(header, model.policy)
            if judgement.refusals:
                return JudgedInstance(instance=instance, refusals=judgement.refusals)
            dataset = None if suspect or is_costly(header) else read_dataset(path)
        frames: list[QueuedFrame] = []
        for number in judgement.frame_numbers:
            with watch.step("normalise"):
                spec = model.manifest.preprocessing
                normalised = (
                    normalise_in_child(path, spec, number, within_s=runtime.site.decode_limit_s)
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
        return JudgedInstance(instance=instance, refusals=(refused.refusal,))
    except FileNotFoundError:
        raise Transient(
            "FILE_MISSING",
            "A file of this study is not in the intake folder. Check that this worker sees the "
            "intake folder of the listener (PNEUMO_STATE_DIR), then run `pneumo retry`.",
        ) from None
    return JudgedInstance(
        instance=instance,
        warnings=tuple(asdict(warning) for warning in judgement.warnings),
        frames=tuple(frames),
    )


def outcome_of(judged: JudgedInstance, model: ActiveModel) -> InstanceOutcome:
    """Wait for the network's answers about one instance."""
    if judged.refusals:
        return InstanceOutcome(
            instance_id=judged.instance.id, refusal=refusal_record(judged.refusals)
        )
    answered = [(frame, frame.score.result()) for frame in judged.frames]
    left_out = {f.frame_number: s for f, s in answered if model.assessment.leaves_out(s)}
    if answered and len(left_out) == len(answered):
        nearest = min(left_out.values(), key=lambda score: score.distance or 0.0)
        refusal = refusal_record((model.assessment.refusal_of(nearest),))
        return InstanceOutcome(instance_id=judged.instance.id, refusal=refusal)
    warnings = (*judged.warnings, *model.assessment.warnings_of_left_out(sorted(left_out)))
    return InstanceOutcome(
        instance_id=judged.instance.id,
        predictions=tuple(
            prediction_of(frame, score, warnings, model)
            for frame, score in answered
            if frame.frame_number not in left_out
        ),
    )


def frames_for_shadow(judged: Sequence[JudgedInstance]) -> list[ShadowFrame]:
    """What the shadow is to look at: every frame that went before the active model."""
    return [
        ShadowFrame(
            instance_id=item.instance.id, frame_number=frame.frame_number, tensor=frame.tensor
        )
        for item in judged
        for frame in item.frames
        if frame.tensor is not None
    ]


def prediction_of(
    frame: QueuedFrame,
    score: Score,
    warnings: Sequence[dict[str, object]],
    model: ActiveModel,
) -> NewPrediction:
    """One row's worth: the score, the operating point, and what was done to the pixels."""
    threshold = model.manifest.threshold
    return NewPrediction(
        frame_number=frame.frame_number,
        model_version_id=model.record.id,
        preprocessing_version=model.manifest.preprocessing.version,
        logit=score.logit,
        probability=score.probability,
        threshold=threshold,
        verdict=judge_probability(score.probability, threshold),
        distance=score.distance,
        device=model.predictor.device_name,
        normalisation=frame.record.to_dict(),
        warnings=(*warnings, *model.assessment.warnings_of(score)),
    )


def conclude(
    instances: tuple[InstanceOutcome, ...],
    known: Sequence[PriorPrediction],
    model: ActiveModel,
    watch: Stopwatch,
) -> StudyOutcome:
    """The study's result from those of its instances, new and known."""
    new = [p.probability for instance in instances for p in instance.predictions]
    study = judge_study([*new, *(p.probability for p in known)], model.manifest.threshold)
    return StudyOutcome(
        verdict=study.verdict,
        probability=study.probability,
        threshold=None if study.verdict is Verdict.REJECTED else model.manifest.threshold,
        model_version_id=model.record.id,
        device=model.predictor.device_name,
        instances=instances,
        seconds=seconds_of(watch),
    )


def seconds_of(watch: Stopwatch) -> StepSeconds:
    """Seconds by step, as the attempt's row keeps them."""
    return StepSeconds(
        read=watch.seconds("read"),
        normalise=watch.seconds("normalise"),
        inference=watch.seconds("inference"),
    )


def refusal_record(refusals: tuple[Refusal, ...]) -> RefusalRecord:
    """The first rule that refused, in the table's order, as the instance's row keeps it."""
    first = refusals[0]
    return RefusalRecord(
        code=first.code,
        tag=first.tag,
        found=first.found,
        expected=first.expected,
        sentence=first.sentence,
        step=first.step,
    )


def store(claimed: Claim, outcome: StudyOutcome, runtime: Runtime) -> None:
    """Write result and audit in one transaction, under the claim's fencing token."""
    in_transaction(
        runtime.database,
        lambda session: store_result(session, claimed, outcome),
        patience_s=runtime.site.lease_s / 2,
    )
