"""Celery's messages and signals, each handed to a plain function."""

from __future__ import annotations

import re
import sys
from typing import Any

import structlog
from celery.signals import (
    setup_logging,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_shutdown,
)

from db.vocabulary.enums import Lane
from worker.celery import ACCEPT, DELIVER, DELIVERY, PROCESS_STUDY, app
from worker.errors import PneumoError
from worker.logging import configure_logging, get_logger, log_traceback, silence_noisy_libraries
from worker.settings import current_settings
from worker.storage.private_folders import keep_private

log = get_logger(__name__)

STUDY_KEY = re.compile(r"[0-9a-f]{32}")
BACKSTOP_S = 120.0
"""Beyond PNEUMO_STUDY_LIMIT_S: the lease keeper acts before, if the study was claimed."""
EXIT_CANNOT_START = 78
"""EX_CONFIG: a restart changes nothing until somebody corrects what the log names."""


@app.task(name=PROCESS_STUDY)
def process_study(study_key: str) -> None:
    """Process one study. A forged, doubled or late message does no harm: rows decide."""
    from worker.pipeline.process_study import process_study as process
    from worker.pipeline.runtime import runtime
    from worker.pipeline.watchdog import WATCHDOG

    if not (isinstance(study_key, str) and STUDY_KEY.fullmatch(study_key)):
        log.warning("message_refused", reason="not a study key")
        return
    limit_s = current_settings().study_limit_s + BACKSTOP_S
    with (
        structlog.contextvars.bound_contextvars(study_key=study_key),
        WATCHDOG.watch("process_study", limit_s=limit_s),
    ):
        try:
            process(study_key, runtime())
        except Exception as error:  # noqa: BLE001  the relay publishes the study again when its lease ends
            log_traceback(error, log, code="ATTEMPT_ABANDONED")


@app.task(name=ACCEPT)
def accept(name: str) -> None:
    """Accept one folder that a bridge left in the intake. If that fails, the relay sends it again."""
    from worker.intake.drop_folder import NAME, accept_folder
    from worker.pipeline.runtime import runtime
    from worker.pipeline.watchdog import WATCHDOG

    if not (isinstance(name, str) and NAME.fullmatch(name)):
        log.warning("message_refused", reason="not an opaque name")
        return
    settings = current_settings()
    try:
        with WATCHDOG.watch("accept", limit_s=settings.handover_limit_s) as report_progress:
            outcome = accept_folder(name, settings, runtime().database, report_progress)
    except PneumoError as error:
        log.warning("handover_failed", code=error.code, kind=error.kind.value)
    except Exception as error:  # noqa: BLE001  the relay sends another message
        log_traceback(error, log, code="HANDOVER_ABANDONED")
    else:
        log.info("handover", outcome=outcome.value)


@app.task(name=DELIVER)
def deliver(delivery_key: str) -> None:
    """Send one result to its destination. A forged, doubled or late message does no harm."""
    from worker.delivery.runtime import delivery_runtime
    from worker.delivery.send import deliver as send
    from worker.pipeline.watchdog import WATCHDOG

    if not (isinstance(delivery_key, str) and STUDY_KEY.fullmatch(delivery_key)):
        log.warning("message_refused", reason="not a delivery key")
        return
    limit_s = current_settings().study_limit_s + BACKSTOP_S
    with (
        structlog.contextvars.bound_contextvars(delivery_key=delivery_key),
        WATCHDOG.watch("deliver", limit_s=limit_s),
    ):
        try:
            send(delivery_key, delivery_runtime())
        except Exception as error:  # noqa: BLE001  the relay publishes it again when its lease ends
            log_traceback(error, log, code="DELIVERY_ABANDONED")


@setup_logging.connect
def _configure(**_: Any) -> None:
    """Configure logging ourselves: Celery's own handlers would write names."""
    configure_logging(current_settings().log_level, current_settings().log_format)


@worker_init.connect
def _prepare(sender: Any, **_: Any) -> None:
    """Load the model before the first message, in the process that will use it."""
    from worker.pipeline.runtime import announce_lanes

    _configure()  # Celery sets logging up after this signal: a refusal to start must be one line too
    queues = sender.app.amqp.queues
    lanes = [lane for lane in Lane if lane.value in queues.consume_from]
    if lanes and DELIVERY in queues.consume_from:
        # Without -Q a worker would serve all queues, and a slow PACS must not hold up a GPU.
        queues.deselect(DELIVERY)
    announce_lanes(lanes)
    if "prefork" not in str(sender.pool_cls):
        _load_or_leave()


@worker_process_init.connect
def _prepare_child(**_: Any) -> None:
    """prefork: the model belongs to the child, since CUDA does not survive a fork."""
    silence_noisy_libraries()
    _load_or_leave()


def _load_or_leave() -> None:
    """Load everything or exit: Celery would hide the error and go on."""
    from worker.pipeline.runtime import announced_lanes, runtime

    try:
        keep_private(current_settings())
        if announced_lanes():
            runtime()
        else:
            _load_for_delivery()
    except PneumoError as error:
        log.critical("worker_cannot_start", code=error.code, sentence=error.sentence)
        sys.exit(EXIT_CANNOT_START)
    except Exception as error:  # noqa: BLE001
        log_traceback(error, log, code="WORKER_CANNOT_START")
        sys.exit(EXIT_CANNOT_START)
    silence_noisy_libraries()


def _load_for_delivery() -> None:
    from worker.delivery.runtime import delivery_runtime

    delivery_runtime()


@worker_shutdown.connect
@worker_process_shutdown.connect
def _exit_process(**_: Any) -> None:
    from worker.delivery.runtime import close_delivery_runtime
    from worker.pipeline.runtime import close_runtime

    close_runtime()
    close_delivery_runtime()
