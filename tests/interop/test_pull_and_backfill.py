"""A whole installation beside Orthanc: ordered, fetched, predicted, covered; by what a person types."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.dicom import make_study
from tests.builders.installation import ROOT, Installation, celery_command
from tests.builders.orthanc import DICOMWEB, Orthanc, needs_orthanc_with_dicomweb
from tests.builders.waiting import scaled

pytestmark = needs_orthanc_with_dicomweb


@pytest.fixture
def archive(tmp_path):
    """Three radiographs on one day, one of them a lateral, and a CT."""
    made = Orthanc(
        tmp_path / "orthanc",
        {
            "Plugins": [str(DICOMWEB)],
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowFind": True,
            "DicomCheckModalityHost": False,
        },
    )
    made.start()
    for number, values in enumerate(({}, {}, {"view_position": "LL"}, {"modality": "CT"}), start=1):
        folder = tmp_path / f"study-{number}"
        for path in make_study(folder, 2, study_instance_uid=f"1.2.3.{number}", **values):
            made.post("/instances", path.read_bytes())
    yield made
    made.stop()


def run(site: Installation, *words: str) -> subprocess.CompletedProcess:
    """`pneumo ...`, as a person types it."""
    return subprocess.run(
        [sys.executable, "-m", "worker.cli", *words],
        cwd=ROOT,
        env={**os.environ, **site.settings.as_environment(), "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=scaled(120),
        check=False,
    )


def start_node_apart(site: Installation, folder: Path) -> None:
    """A worker whose disk is its own: it shares database and broker, and no intake folder."""
    shared = site.settings
    apart = {"state_dir": folder, "run_dir": shared.alive_dir, "own_disk": True}
    site.settings = shared.model_copy(update=apart)
    site.start(*celery_command("stat,routine", "threads", 2), log="worker-apart")
    site.settings = shared


def test_a_study_a_day_and_what_became_of_them(install, archive, tmp_path):
    peers = tmp_path / "peers.toml"
    site = install(peers=peers)
    away = (
        '[pacs]\nae_title = "ORTHANC"\nhost = "127.0.0.1"\nport = 1\n'
        'search = "c-find"\ncount = "c-find"\nretrieve = "c-get"\n'
    )
    peers.write_text(away)
    site.start_relay()
    start_node_apart(site, tmp_path / "node")
    site.wait_until_ready()

    ordered = run(site, "pull", "--study", "1.2.3.1", "--priority", "stat")
    assert ordered.returncode == 0, ordered.stdout + ordered.stderr
    assert "1.2.3.1" not in ordered.stdout
    site.wait_for(
        "the condition is on record",
        lambda: site.rows("SELECT code FROM site_condition") == [("ARCHIVE_AWAY",)],
        within_s=20,
    )
    status = run(site, "status").stdout
    assert "archive pacs: ARCHIVE_AWAY" in status
    assert "Still to be fetched from pacs: 1 ordered study." in status

    peers.write_text(away.replace("port = 1\n", f"port = {archive.dicom_port}\n"))
    site.wait_for("predicted after all", lambda: site.all_done(1), within_s=40)
    assert "ARCHIVE_AWAY" not in run(site, "status").stdout

    filled = run(site, "backfill", "--from", "2026-01-02", "--to", "2026-01-02", "--rate", "50/s")
    assert filled.returncode == 0, filled.stdout + filled.stderr
    assert "Studies: 3 in pacs, 1 known before, 2 ordered." in filled.stdout
    site.wait_for("all of the day", lambda: site.all_done(3), within_s=40)

    covered = run(site, "coverage", "--from", "2026-01-02", "--to", "2026-01-02")
    lines = [line.replace("│", " ").split() for line in covered.stdout.splitlines()]
    assert ["all", "3", "2", "1", "0", "0", "0", "100", "%"] in lines, covered.stdout
    assert ["refused", "VIEW_NOT_FRONTAL", "1"] in lines
    assert covered.returncode == 0

    web = f"http://127.0.0.1:{archive.http_port}/dicom-web"
    by_web = run(
        site, "enqueue", "--dicomweb", web, "--study", "1.2.3.4", "--wait", "--timeout", "60"
    )
    assert by_web.returncode == 0, by_web.stdout + by_web.stderr
    assert "rejected" in by_web.stdout
    rows = site.rows("SELECT source, priority, closed_by FROM study ORDER BY id")
    assert rows == [
        ("pull", "stat", "pacs_count"),
        ("pull", "routine", "pacs_count"),
        ("pull", "routine", "pacs_count"),
        ("dicomweb", "routine", "sender"),
    ]
    assert not list(site.settings.intake_dir.rglob("*.dcm")), "nothing lies on a shared disk"
    assert len(list((tmp_path / "node" / "intake").rglob("*.dcm"))) == 8
    told = site.ends_of_logs() + ordered.stdout + filled.stdout + covered.stdout + by_web.stdout
    assert "1.2.3." not in told.replace("127.0.0.1", "")
