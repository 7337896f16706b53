"""The closed sets of words that rows and records use. Stored by value, kept by CHECK constraints."""

from __future__ import annotations

from enum import StrEnum


class StudyState(StrEnum):
    """Where a study stands on its way."""

    RECEIVING = "receiving"
    """Instances still come in by C-STORE; closed when none came for the idle window."""
    ACCEPTED = "accepted"
    """Ours and waiting: the relay publishes it once it is due. The row is the outbox."""
    QUEUED = "queued"
    """Its key was published to the broker."""
    RUNNING = "running"
    """A worker holds a claim with a lease."""
    DONE = "done"
    """It has a verdict: positive, negative or rejected."""
    PARKED = "parked"
    """It failed for good until somebody looks at it; code and sentence say why."""


class Priority(StrEnum):
    """What the sender asked for."""

    STAT = "stat"
    """At once."""
    ROUTINE = "routine"
    """In turn."""


class Lane(StrEnum):
    """The queue that a study goes through now."""

    STAT = "stat"
    """Before everything else."""
    ROUTINE = "routine"
    """In turn."""
    SUSPECT = "suspect"
    """Workers died while they held it: alone in its process, so that no other study dies with it."""


class Source(StrEnum):
    """The way in."""

    PYTHON = "python"
    """`accept_study(...)` called by another program."""
    CLI = "cli"
    """`pneumo enqueue`."""
    C_STORE = "c_store"
    """A DICOM association to `pneumo listen`."""
    MESSAGE = "message"
    """A folder that a bridge named in a message to `pneumo.accept`."""
    FOLDER = "folder"
    """A watched folder (`pneumo watch`)."""
    DICOMWEB = "dicomweb"
    """Fetched by a worker from a DICOMweb server (WADO-RS)."""
    PULL = "pull"
    """Fetched by a worker from a PACS (C-MOVE or C-GET)."""


class ClosedBy(StrEnum):
    """The rule that said that a study is complete."""

    SENDER = "sender"
    """The sender handed over the whole study at once."""
    MANIFEST = "manifest"
    """Every instance that the sender's manifest names is here."""
    PACS_COUNT = "pacs_count"
    """As many instances are here as the PACS says the study has."""
    IDLE_WINDOW = "idle_window"
    """No instance came for the idle window."""


class RetrieveWay(StrEnum):
    """How a worker fetches an ordered study from an archive."""

    WADO_RS = "wado-rs"
    """DICOMweb (PS3.18 10.4)."""
    C_GET = "c-get"
    """Over one association, the images included (PS3.4 C.4.3)."""
    C_MOVE = "c-move"
    """The archive sends the images to our listener (PS3.4 C.4.2)."""


class Verdict(StrEnum):
    """What a study (or one frame) came to."""

    POSITIVE = "positive"
    """Probability at or above the operating point."""
    NEGATIVE = "negative"
    """Probability below the operating point."""
    REJECTED = "rejected"
    """Nothing in the study was eligible. A result, not an error."""
    FAILED = "failed"
    """Parked; there is no result."""


class InstanceState(StrEnum):
    """Where an instance stands."""

    PENDING = "pending"
    """Not judged yet."""
    PREDICTED = "predicted"
    """It has at least one prediction."""
    REFUSED = "refused"
    """Not usable; the refusal stands beside it."""


class RunOutcome(StrEnum):
    """How an attempt ended."""

    RUNNING = "running"
    """It has not ended; its lease says how long we believe in it."""
    DONE = "done"
    """Its results were stored."""
    RETRY = "retry"
    """It met a passing failure, or new images came during it: the study is due again."""
    PARKED = "parked"
    """It met a failure that waiting does not mend."""
    CRASHED = "crashed"
    """Its lease ran out: the worker died or hung."""
    RELEASED = "released"
    """Handed back unstarted, at a worker's shutdown."""


class FailureKind(StrEnum):
    """Kinds of failure, by the same words as `worker.errors.ErrorKind`."""

    REJECTED = "rejected"
    """The data's fault."""
    TRANSIENT = "transient"
    """Something outside was away."""
    RESOURCE = "resource"
    """Too little memory, disk or device."""
    BUG = "bug"
    """Everything else."""


class DeliveryState(StrEnum):
    """Where a result stands on its way to one destination."""

    WAITING = "waiting"
    """To be sent, at once or when it is due again."""
    SENDING = "sending"
    """A delivery worker holds a claim with a lease."""
    SENT = "sent"
    """The destination answered that it has every object."""
    AWAITING_COMMITMENT = "awaiting_commitment"
    """Sent; the destination has still to confirm that it keeps every object."""
    COMMITTED = "committed"
    """The destination confirmed that it keeps every object (PS3.4 annex J)."""
    SUPERSEDED = "superseded"
    """A newer result of the study took its place before the destination answered that it has this
    one. If it was begun (`begun_at`) the destination may hold all of it; the newer one says so."""
    PARKED = "parked"
    """The destination refuses it, or it cannot be made; it waits for a person."""
    FORGONE = "forgone"
    """Somebody let it go: it is not sent any more, and needs its study's files no more."""


class InstanceReceipt(StrEnum):
    """What became of one instance that a sender handed over."""

    NEW = "new"
    """Taken over."""
    DUPLICATE = "duplicate"
    """The same file is here already; nothing changed."""
    CHANGED = "changed"
    """The same SOP Instance UID with another content: it takes the place of the earlier one in a
    new revision; both stay on record."""
    CONFLICTING = "conflicting"
    """Another content than one of the same SOP Instance UID in the same delivery, which counts."""


class SweepAction(StrEnum):
    """What the sweeper did with a study or a delivery whose lease had run out."""

    REQUEUED = "requeued"
    """It is due again: a study in its own lane."""
    SUSPECTED = "suspected"
    """The study goes through the suspect lane."""
    PARKED = "parked"
    """Too many workers died with it: CRASHED_WORKER, CRASHED_DELIVERY."""
    SKIPPED = "skipped"
    """Its row could not be swept; the others were."""


class AuditEvent(StrEnum):
    """What the audit trail records, in the past tense."""

    STUDY_ACCEPTED = "study_accepted"
    """A study was closed and taken over for prediction."""
    STUDY_ORDERED = "study_ordered"
    """A study is to be fetched from an archive; none of its images is here yet."""
    STUDY_FETCHED = "study_fetched"
    """The archive gave the images of an ordered study."""
    STUDY_RECEIVED_AGAIN = "study_received_again"
    """A resend brought nothing new."""
    STUDY_REVISED = "study_revised"
    """New images came to a study that was running or finished."""
    STUDY_RAISED_TO_STAT = "study_raised_to_stat"
    """A resend asked for STAT."""
    CHANGED_INSTANCE_RECEIVED = "changed_instance_received"
    """An instance came with another content than before: a new revision, with both digests."""
    CONFLICTING_INSTANCE_RECEIVED = "conflicting_instance_received"
    """One delivery held two contents under one SOP Instance UID; the first counts."""
    MANIFEST_RECEIVED = "manifest_received"
    """The sender said which images the study consists of."""
    ATTEMPT_CRASHED = "attempt_crashed"
    """A worker died or hung while it held the study."""
    PREDICTION_RECORDED = "prediction_recorded"
    """One frame was predicted."""
    INSTANCE_REFUSED = "instance_refused"
    """One instance was refused, with its code."""
    STUDY_FINISHED = "study_finished"
    """The study got its verdict."""
    STUDY_PARKED = "study_parked"
    """The study failed for good."""
    STUDY_RETRIED = "study_retried"
    """Somebody sent a parked study round again."""
    MODEL_REGISTERED = "model_registered"
    """A bundle became known."""
    MODEL_ACTIVATED = "model_activated"
    """A model version was selected for all further studies."""
    SHADOW_SELECTED = "shadow_selected"
    """A model version was set beside the active one, or none."""
    FILES_REMOVED = "files_removed"
    """Files of a finished study left by the retention rule; results and digests stay."""
    FILES_RETURNED = "files_returned"
    """Files that had left were sent again."""
    RESULT_DIFFERS = "result_differs"
    """An object of a result was made again with other bytes than before under its UID."""
    RESULT_OWED = "result_owed"
    """Somebody ordered a study's result to be sent to a destination that was named later."""
    RESULT_SENT = "result_sent"
    """A destination took a study's result."""
    RESULT_COMMITTED = "result_committed"
    """A destination confirmed that it keeps a study's result."""
    RESULT_PARKED = "result_parked"
    """A study's result could not be delivered."""
    RESULT_FORGONE = "result_forgone"
    """Somebody let go of a result that was still owed to a destination."""
    IDENTITY_ERASED = "identity_erased"
    """The personal identifiers of a study were erased."""
