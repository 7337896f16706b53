"""The Celery app: `celery -A worker worker -P threads -c 16 -Q stat,routine` finds it here.

Redis is a hint, SQL is the truth: kombu's Redis transport can lose a message when a process dies
between BRPOP and its own bookkeeping (celery#4354, kombu#305), so a message is nothing but the
request "look at this study". Whatever is lost, doubled or late is corrected from rows
(db/studies/claims.py). Each setting below states its reason.
"""

from __future__ import annotations

from celery import Celery
from kombu import Queue

from db.values.deliveries import Urgency
from db.vocabulary.enums import Lane
from worker.messaging.broker_address import broker_address
from worker.messaging.names import ACCEPT, DELIVER, DELIVERY, PROCESS_STUDY
from worker.messaging.transport import transport_for
from worker.settings import Settings, current_settings

__all__ = ["ACCEPT", "DELIVER", "DELIVERY", "PROCESS_STUDY", "app", "key_of_priority", "make_app"]

DELIVERY_PRIORITY = {Urgency.STAT: 0, Urgency.ROUTINE: 3, Urgency.PAST_RESULT: 6}
"""Priority of its messages. All share one queue, so that whoever serves it serves STAT first, however
it was started. kombu keeps a list of each priority and takes from the first that is not empty."""
PRIORITY_SEPARATOR = ":"


def make_app(settings: Settings) -> Celery:
    """Make the app of an installation; nothing connects until it is used."""
    celery = Celery("pneumo", broker=broker_address(settings), include=["worker.tasks"])
    celery.conf.update(
        # -- what a message is ------------------------------------------------------------
        broker_transport=transport_for(settings.broker_url),  # drops what has not our form
        task_serializer="json",  # never pickle: a message must not be able to run code
        accept_content=["json"],  # refuse anything else at once
        result_accept_content=["json"],
        task_ignore_result=True,  # results are rows; a second record could only disagree
        task_store_errors_even_if_ignored=False,
        # -- lanes ------------------------------------------------------------------------
        task_queues=[*(Queue(lane.value) for lane in Lane), Queue(DELIVERY)],
        task_default_queue=Lane.ROUTINE.value,
        task_create_missing_queues=False,  # a misspelt -Q is an error, not a silent new queue
        worker_prefetch_multiplier=1,  # reserve no more than runs: STAT waits for one study at most
        # -- what happens when something dies ---------------------------------------------
        task_acks_late=True,  # acknowledged after the commit
        task_reject_on_worker_lost=True,  # prefork only; the loop is bounded by the claim's counter
        worker_cancel_long_running_tasks_on_connection_loss=False,  # the claim stops doubles; finish
        broker_connection_retry_on_startup=True,  # a worker may start before its broker
        broker_connection_max_retries=None,  # the default gives up after 100 tries
        worker_soft_shutdown_timeout=20,  # SIGQUIT only; SIGTERM waits for running studies
        worker_eta_task_limit=100,  # nobody may send countdowns: they double past the timeout
        task_publish_retry_policy={
            "max_retries": 2,  # the relay tries again in a second anyway
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 0.5,
        },
        broker_transport_options={
            "visibility_timeout": 900,  # longer than two of the worst studies; recovery is by lease
            "unacked_restore_interval": 10,  # the default sweeps every 100 s
            "unacked_restore_throttle": 1,
            "queue_order_strategy": "priority",  # -Q stat,routine in that order: STAT first
            "priority_steps": sorted(DELIVERY_PRIORITY.values()),  # only deliveries say one
            "sep": PRIORITY_SEPARATOR,  # the default has unprintable signs in it
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 25,  # finds a half-open connection
            "global_keyprefix": settings.broker_prefix,  # a shared Redis stays tidy
        },
        # -- the process ------------------------------------------------------------------
        worker_hijack_root_logger=False,  # logs are ours (worker/logging.py), without names
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,  # pidbox lets anyone with Redis stop workers
        worker_send_task_events=False,  # progress is read from SQL
        timezone="UTC",
        enable_utc=True,
    )
    return celery


def key_of_priority(queue: str, priority: int) -> str:
    """Return the Redis list, without our prefix, that holds a queue's messages of one priority."""
    return f"{queue}{PRIORITY_SEPARATOR}{priority}" if priority else queue


app = make_app(current_settings())
