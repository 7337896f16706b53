"""The whole story of a study: claimed, read, judged, normalised, inferred, stored."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from enum import StrEnum

from db.claims import claim
from db.enums import InstanceState, Lane, Verdict
from db.errors import StaleClaim
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
from worker.errors import Transient
from worker.failures import settle_failure
from worker.imaging.eligibility import judge
from worker.imaging.normalisation_record import NormalisationRecord
from worker.imaging.pixels import normalise_frame
from worker.imaging.preprocessing import preprocess
from worker.imaging.reading import read_dataset, read_header
from worker.imaging.refusals import Refusal, RefusedInstance
from worker.logging import get_logger
from worker.model.predictor import Score
from worker.patience import in_transaction
from worker.runtime import Runtime
from worker.stopwatch import Stopwatch
from worker.verdict import judge_probability, judge_study

log = get_logger(__name__)


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
            outcome, watch = read_study(claimed, runtime)
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
    return StudyEnd.STORED


def read_study(claimed: Claim, runtime: Runtime) -> tuple[StudyOutcome, Stopwatch]:
    """Judge and infer every instance of a claimed study that this model has not predicted yet."""
    watch, model = Stopwatch(), runtime.model
    stat = claimed.lane is Lane.STAT
    known = [p for instance in claimed.instances for p in predictions_kept(instance, model)]
    judged = [
        judge_instance(instance, model, runtime, watch, stat=stat)
        for instance in claimed.instances
        if instance.state is not InstanceState.REFUSED and not predictions_kept(instance, model)
    ]
    with watch.step("inference"):
        instances = tuple(outcome_of(item, model) for item in judged)
    return conclude(instances, known, model, watch), watch


def predictions_kept(instance: ClaimedInstance, model: ActiveModel) -> list[PriorPrediction]:
    """What this model said of the instance in an earlier revision; that stands and is not redone."""
    version = model.manifest.preprocessing.version
    return [
        prior
        for prior in instance.prior
        if (prior.model_version_id, prior.preprocessing_version) == (model.record.id, version)
    ]


def judge_instance(
    instance: ClaimedInstance, model: ActiveModel, runtime: Runtime, watch: Stopwatch, *, stat: bool
) -> JudgedInstance:
    """Read one file, apply the eligibility table, put its frames before the network."""
    try:
        with watch.step("read"):
            path = runtime.storage.path_of(instance.file_name)
            header = read_header(path)
            judgement = judge(header, model.policy)
            if judgement.refusals:
                return JudgedInstance(instance=instance, refusals=judgement.refusals)
            dataset = read_dataset(path)
        frames = []
        for number in judgement.frame_numbers:
            with watch.step("normalise"):
                normalised = normalise_frame(dataset, model.manifest.preprocessing, number)
                tensor = preprocess(normalised.pixels, model.manifest.preprocessing)
            score = model.batcher.submit(tensor, stat=stat)
            frames.append(QueuedFrame(frame_number=number, record=normalised.record, score=score))
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
    return InstanceOutcome(
        instance_id=judged.instance.id,
        predictions=tuple(
            prediction_of(frame, frame.score.result(), judged.warnings, model)
            for frame in judged.frames
        ),
    )


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
        device=model.predictor.device_name,
        normalisation=frame.record.to_dict(),
        warnings=tuple(warnings),
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
