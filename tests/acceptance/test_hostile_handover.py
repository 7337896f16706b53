"""Folders that would hang or fail a worker for ever: it lives on, and predicts the next study."""

from __future__ import annotations

import json
import os
import secrets
import signal

from tests.acceptance.test_bridge import hand_over
from tests.builders.hostile_paths import HOSTILE, fifo


def hostile_folder(installation, build) -> str:
    """A folder with one such file, handed over without a message."""
    name = secrets.token_hex(16)
    part = installation.settings.handed_over_dir / f"{name}.part"
    part.mkdir(parents=True)
    build(part / "a.dcm")
    part.rename(installation.settings.handed_over_dir / name)
    return name


def test_fifos_links_and_devices_stop_no_worker(install):
    installation = install(handover_patience_s=0.3)
    worker = installation.start_worker(threads=2)
    installation.wait_until_ready()
    refused = [hostile_folder(installation, fifo) for _ in range(2)]  # one for each thread
    refused += [hostile_folder(installation, build) for build, _ in HOSTILE.values()]
    (installation.settings.handed_over_dir / "e".rjust(32, "0")).symlink_to("/etc")
    os.mkfifo(installation.settings.handed_over_dir / "f".rjust(32, "0"))
    deep = hostile_folder(installation, lambda path: path.touch())
    folder = installation.settings.handed_over_dir / deep
    (folder / "manifest.json").write_bytes(b"[" * 100_000)
    installation.start_relay()
    aside = installation.settings.handed_over_dir / "refused"
    installation.wait_for(
        "all refused",
        lambda: aside.exists() and len(list(aside.glob("*/reasons.json"))) == len(refused) + 3,
        within_s=60,
    )
    hand_over(installation, "1.2.3.4")
    installation.wait_for("the next study", lambda: installation.all_done(1), within_s=60)

    assert worker.poll() is None
    codes = [json.loads(path.read_text())[0]["code"] for path in aside.glob("*/reasons.json")]
    expected = [code for _, code in HOSTILE.values()]
    expected += ["NOT_A_REGULAR_FILE"] * 3 + ["LINK_REFUSED", "MANIFEST_INVALID"]
    assert sorted(codes) == sorted(expected)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=30) == 0


def test_a_folder_that_hangs_its_worker_ends_the_process_and_is_refused_at_last(install):
    """The file system itself hangs: nothing but the watchdog can help."""
    installation = install(
        handover_patience_s=0.3, requeue_after_s=1.0, handover_limit_s=6.0, handover_attempts=2
    )
    name = hand_over(installation, "1.2.3.5")
    installation.start_relay()
    ends = [installation.start_paused_worker("accept").wait(timeout=90) for _ in range(2)]
    assert ends == [70, 70], "EX_SOFTWARE: the supervisor starts a fresh process"

    installation.start_worker()
    aside = installation.settings.handed_over_dir / "refused" / name / "reasons.json"
    installation.wait_for("the refusal", aside.exists, within_s=90)
    assert json.loads(aside.read_text())[0]["code"] == "HANDOVER_FAILED"
    assert "worker_hangs" in "".join(
        p.read_text() for p in installation.settings.log_dir.glob("*.log")
    )
    hand_over(installation, "1.2.3.6")
    installation.wait_for("the next study", lambda: installation.all_done(1), within_s=60)
