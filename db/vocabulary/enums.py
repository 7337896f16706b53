"""The closed sets of words that rows and records use; stored by value, enforced by CHECK."""

from __future__ import annotations

from enum import StrEnum


class StudyState(StrEnum):
    """How far a study has come."""

    RECEIVING = "receiving"
    """Instances are still coming in by C-STORE; it is closed when none comes for the idle window."""
    ACCEPTED = "accepted"
    """Accepted and waiting: the relay publishes it once it is due. The row is the outbox."""
    QUEUED = "queued"
    """Its key was published to the broker."""
    RUNNING = "running"
    """A worker holds a claim with a lease."""
    DONE = "done"
    """It has a verdict: positive, negative or rejected."""
    PARKED = "parked"
    """It failed and waits for a person; code and sentence say why."""


class Priority(StrEnum):
    """The priority that the sender requested."""

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
    """Workers died while they held it: it runs alone in its process, to protect other studies."""


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
    """The rule by which a study was found complete."""

    SENDER = "sender"
    """The sender handed over the whole study at once."""
    MANIFEST = "manifest"
    """Every instance that the sender's manifest names is here."""
    PACS_COUNT = "pacs_count"
    """As many instances are here as the PACS says the study has."""
    IDLE_WINDOW = "idle_window"
    """No instance came within the idle window."""


class RetrieveWay(StrEnum):
    """How a worker fetches an ordered study from an archive."""

    WADO_RS = "wado-rs"
    """DICOMweb (PS3.18 10.4)."""
    C_GET = "c-get"
    """Over one association, the images included (PS3.4 C.4.3)."""
    C_MOVE = "c-move"
    """The archive sends the images to our listener (PS3.4 C.4.2)."""


class Verdict(StrEnum):
    """The result for a study or for one frame."""

    POSITIVE = "positive"
    """Probability at or above the operating point."""
    NEGATIVE = "negative"
    """Probability below the operating point."""
    REJECTED = "rejected"
    """Nothing in the study was eligible. A result, not an error."""
    FAILED = "failed"
    """The study is parked; there is no result."""


class InstanceState(StrEnum):
    """Whether an instance was assessed."""

    PENDING = "pending"
    """Not assessed yet."""
    PREDICTED = "predicted"
    """It has at least one prediction."""
    REFUSED = "refused"
    """Not usable; the same row holds the refusal."""


class RunOutcome(StrEnum):
    """How an attempt ended."""

    RUNNING = "running"
    """It has not ended; its lease says until when its worker is believed alive."""
    DONE = "done"
    """Its results were stored."""
    RETRY = "retry"
    """It met a transient failure, or new images came during it: the study is due again."""
    PARKED = "parked"
    """It met a failure that waiting does not cure."""
    CRASHED = "crashed"
    """Its lease expired: the worker died or hung."""
    RELEASED = "released"
    """A worker that shut down returned it unstarted."""


class FailureKind(StrEnum):
    """Kinds of failure, by the same words as `worker.errors.ErrorKind`."""

    REJECTED = "rejected"
    """The data are at fault."""
    TRANSIENT = "transient"
    """Something outside was not available."""
    RESOURCE = "resource"
    """Too little memory, disk or device."""
    BUG = "bug"
    """Everything else."""


class DeliveryState(StrEnum):
    """How far the delivery of a result to one destination has come."""

    WAITING = "waiting"
    """It will be sent at once, or when it is due again."""
    SENDING = "sending"
    """A delivery worker holds a claim with a lease."""
    SENT = "sent"
    """The destination confirmed receipt of every object."""
    AWAITING_COMMITMENT = "awaiting_commitment"
    """Sent; the destination has not confirmed yet that it keeps every object."""
    COMMITTED = "committed"
    """The destination confirmed that it keeps every object (PS3.4 annex J)."""
    SUPERSEDED = "superseded"
    """A newer result of the study replaced it before the destination confirmed receipt of this one.
    If it was begun (`begun_at`) the destination may hold all of it; the newer one says so."""
    PARKED = "parked"
    """The destination refuses it, or it cannot be built; it waits for a person."""
    FORGONE = "forgone"
    """Somebody cancelled it: it is not sent, and no longer needs its study's files."""


class InstanceReceipt(StrEnum):
    """What was done with one instance that a sender handed over."""

    NEW = "new"
    """It was stored."""
    DUPLICATE = "duplicate"
    """The same content is here already; nothing changed."""
    CHANGED = "changed"
    """The same SOP Instance UID with another content: it replaces the earlier one in a new revision;
    both stay on record."""
    CONFLICTING = "conflicting"
    """Its content differs from an earlier one of the same SOP Instance UID in the same delivery; the
    earlier one counts."""


class SweepAction(StrEnum):
    """What the sweep did with a study or a delivery whose lease had expired."""

    REQUEUED = "requeued"
    """It is due again: a study in its own lane."""
    SUSPECTED = "suspected"
    """The study was moved to the suspect lane."""
    PARKED = "parked"
    """It was parked with code CRASHED_WORKER or CRASHED_DELIVERY."""
    SKIPPED = "skipped"
    """Its row could not be processed; the others were."""


class AuditEvent(StrEnum):
    """What the audit trail records, in the past tense."""

    STUDY_ACCEPTED = "study_accepted"
    """A study was closed and accepted for prediction."""
    STUDY_ORDERED = "study_ordered"
    """A study was ordered from an archive; none of its images is here yet."""
    STUDY_FETCHED = "study_fetched"
    """An ordered study's images were fetched from the archive."""
    STUDY_RECEIVED_AGAIN = "study_received_again"
    """A resend brought nothing new."""
    STUDY_REVISED = "study_revised"
    """New images came to a study that was running or finished."""
    STUDY_RAISED_TO_STAT = "study_raised_to_stat"
    """A resend requested STAT."""
    CHANGED_INSTANCE_RECEIVED = "changed_instance_received"
    """An instance came with another content than before; both digests are recorded."""
    CONFLICTING_INSTANCE_RECEIVED = "conflicting_instance_received"
    """A sender handed over two contents under one SOP Instance UID; the first counts."""
    MANIFEST_RECEIVED = "manifest_received"
    """The sender named the images that the study consists of."""
    ATTEMPT_CRASHED = "attempt_crashed"
    """A worker died or hung while it held the study."""
    PREDICTION_RECORDED = "prediction_recorded"
    """One frame's prediction was stored."""
    PREDICTION_VERIFIED = "prediction_verified"
    """Somebody had a prediction computed again; the entry says whether it was equal, or what differed."""
    INSTANCE_REFUSED = "instance_refused"
    """One instance was refused, with its code."""
    STUDY_FINISHED = "study_finished"
    """The study got its verdict."""
    STUDY_PARKED = "study_parked"
    """The study failed and waits for a person."""
    STUDY_RETRIED = "study_retried"
    """Somebody retried a parked study."""
    MODEL_REGISTERED = "model_registered"
    """A bundle was registered."""
    MODEL_ACTIVATED = "model_activated"
    """A model version was selected for all further studies."""
    SHADOW_SELECTED = "shadow_selected"
    """A model version was selected as the shadow, or none."""
    FILES_REMOVED = "files_removed"
    """The retention rule removed files of a finished study; results and digests stay."""
    FILES_RETURNED = "files_returned"
    """Files that had been removed were sent again."""
    RESULT_DIFFERS = "result_differs"
    """An object of a result was rebuilt under its UID with other bytes than before."""
    RESULT_OWED = "result_owed"
    """Somebody enqueued a study's earlier result for a destination that was added later."""
    RESULT_SENT = "result_sent"
    """A destination accepted a study's result."""
    RESULT_COMMITTED = "result_committed"
    """A destination confirmed that it keeps a study's result."""
    RESULT_PARKED = "result_parked"
    """A study's result could not be delivered."""
    RESULT_RETRIED = "result_retried"
    """Somebody retried the parked delivery of a result."""
    RESULT_FORGONE = "result_forgone"
    """Somebody cancelled the outstanding delivery of a result."""
    STUDY_EXPORTED = "study_exported"
    """Somebody exported a de-identified copy of a study."""
    IDENTITY_ERASED = "identity_erased"
    """The personal identifiers of a study were erased."""
