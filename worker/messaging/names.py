"""Names of tasks and queues: what a message may say, and where it may lie."""

from __future__ import annotations

from db.vocabulary.enums import Lane

PROCESS_STUDY = "pneumo.process_study"
"""Name of the task that looks at a study; its one argument is a study key."""
ACCEPT = "pneumo.accept"
"""Name of the task that accepts what a bridge hands over; its one argument is an opaque name."""
DELIVER = "pneumo.deliver"
"""Name of the task that sends a result to a destination; its one argument is a delivery's key."""
DELIVERY = "delivery"
"""The queue of results, which workers that predict never serve."""

QUEUES_OF_TASK = {
    PROCESS_STUDY: frozenset(lane.value for lane in Lane),
    ACCEPT: frozenset({Lane.STAT.value, Lane.ROUTINE.value}),
    DELIVER: frozenset({DELIVERY}),
}
"""In which queues a task's messages belong."""
