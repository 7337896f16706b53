"""Whoever reaches the broker can write anything; no worker dies of it, and routine work goes on."""

from __future__ import annotations

import json

import redis

from tests.builders.dicom import make_study
from tests.builders.forged_messages import FORGED, message
from worker.intake.accept import accept_study


def test_no_forged_message_ends_a_worker_or_stays_in_the_broker(install, tmp_path):
    installation = install()
    settings = installation.settings
    worker = installation.start_worker()
    installation.wait_until_ready()
    client = redis.Redis.from_url(settings.broker_url)
    queue = f"{settings.broker_prefix}routine"

    def forged_are_gone() -> bool:
        return not client.llen(queue) and not client.exists(f"{settings.broker_prefix}unacked")

    assert len(FORGED) >= 62
    for name, raw in FORGED.items():
        client.lpush(queue, raw)
        installation.wait_for(name, forged_are_gone, within_s=30)
        assert worker.poll() is None, name

    # An entry that a dead worker might have left, and that is none.
    client.hset(f"{settings.broker_prefix}unacked", "tag", "7")
    client.zadd(f"{settings.broker_prefix}unacked_index", {"tag": 1})
    installation.wait_for("unacknowledged", forged_are_gone, within_s=60)

    key = accept_study(
        make_study(tmp_path / "study", n_instances=1), database=installation.database, site=settings
    ).study_key
    client.lpush(queue, json.dumps(message(argument=key)))
    installation.wait_for("routine work", lambda: installation.all_done(1), within_s=60)
    assert worker.poll() is None
    installation.wait_for(
        "condition",
        lambda: installation.rows("SELECT code FROM site_condition") == [("FOREIGN_MESSAGES",)],
        within_s=30,
    )
    log = (settings.log_dir / "worker.log").read_text()
    assert "foreign_message_dropped" in log
    assert "os.system" not in log, "nothing of a message is logged"
