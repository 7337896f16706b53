"""A bridge that speaks to Redis and to the intake folder alone; its messages may be lost."""

from __future__ import annotations

import base64
import json
import secrets
import uuid

import redis

from tests.builders.dicom import make_study


def hand_over(installation, uid: str) -> str:
    """The bridge's part up to the message."""
    name = secrets.token_hex(16)
    folder = installation.settings.handed_over_dir
    make_study(folder / f"{name}.part", n_instances=1, study_instance_uid=uid)
    (folder / f"{name}.part").rename(folder / name)
    return name


def raw_message(name: str) -> str:
    """As docs/bridges.md gives it, for a bridge that has no Celery."""
    identifier = str(uuid.uuid4())
    body = base64.b64encode(json.dumps([[name], {}, None]).encode()).decode()
    return json.dumps(
        {
            "body": body,
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"lang": "py", "task": "pneumo.accept", "id": identifier},
            "properties": {
                "correlation_id": identifier,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": "routine"},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid.uuid4()),
            },
        }
    )


def test_a_raw_message_and_a_lost_one_both_end_in_a_prediction(install):
    installation = install(handover_patience_s=600)
    installation.start_worker()
    installation.wait_until_ready()
    installation.start_relay()
    told = hand_over(installation, "1.2.3.1")
    client = redis.Redis.from_url(installation.settings.broker_url)
    client.lpush(f"{installation.settings.broker_prefix}routine", raw_message(told))
    installation.wait_for("told", lambda: installation.all_done(1), within_s=60)

    impatient = install(handover_patience_s=0.5)
    hand_over(impatient, "1.2.3.2")  # and no message
    impatient.start_worker()
    impatient.wait_until_ready()
    impatient.start_relay()
    impatient.wait_for("untold", lambda: impatient.all_done(1), within_s=60)

    for site in (installation, impatient):
        assert site.rows("SELECT source, state FROM study") == [("message", "done")]
        assert list(site.settings.handed_over_dir.iterdir()) == []
        logs = "".join(path.read_text() for path in site.settings.log_dir.glob("*.log"))
        assert "1.2.3." not in logs
        assert "study_handed_over" in logs
