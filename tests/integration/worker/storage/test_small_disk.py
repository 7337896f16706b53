"""A real file system that fills: 64 MB in memory, where the system lets us mount one."""

from __future__ import annotations

import io
import subprocess

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import ComputedRadiographyImageStorage
from rich.console import Console

from db.ledger.conditions import active_conditions
from tests.builders.dicom import make_instance
from tests.builders.waiting import wait_until
from tests.integration.worker.maintenance.test_retention import claimed_but_gone, is_finished
from worker.screens.status import show_status
from worker.screens.tidy import show_tidying
from worker.storage import disk_condition
from worker.storage.disk import disk_monitor_of
from worker.storage.disk_condition import DiskCondition

CR = ComputedRadiographyImageStorage
IMAGE = make_instance(rows=1600, columns=1600, seed=1)
"""5.1 MB."""


@pytest.fixture
def small_disk(site, tmp_path):
    """The site on a disk of 64 MB; its database is elsewhere."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def on(site, folder, **changes):
    site.settings = site.settings.model_copy(update={"state_dir": folder, **changes})
    site.listen()
    return site


def send(site, number) -> str:
    """What a sender of one image hears."""
    IMAGE.StudyInstanceUID, IMAGE.SOPInstanceUID = f"1.2.3.{number}", f"1.2.3.{number}.1"
    IMAGE.file_meta.MediaStorageSOPInstanceUID = IMAGE.SOPInstanceUID
    unit = AE(ae_title="SENDER")
    unit.add_requested_context(CR, ExplicitVRLittleEndian)
    opened = unit.associate("127.0.0.1", site.settings.listen_port, ae_title="PNEUMO")
    if opened.is_rejected:
        return f"rejected {opened.acceptor.primitive.result}"
    status = opened.send_c_store(IMAGE)
    opened.release()
    return f"{status.Status:04X} {status.get('ErrorComment', '')}".strip()


def send_until_refused(site) -> tuple[int, str]:
    """How many were taken over, and what the next one heard."""
    for number in range(20):
        monitor = disk_monitor_of(site.settings)
        monitor._queried_at = None  # each queries the disk, as if a second had passed
        heard = send(site, number)
        if heard != "0000":
            return number, heard
    raise AssertionError("64 MB took 100 MB")


def told(site) -> dict[str, str]:
    DiskCondition(site.settings, site.database).run_once()
    with site.database.reading() as session:
        return {condition.subject: condition.code for condition in active_conditions(session)}


def status_of(site) -> str:
    console = Console(width=200, file=io.StringIO(), record=True)
    show_status(site.settings, console)
    return console.export_text()


def test_the_ladder_is_climbed_and_descended(site, small_disk):
    """64 MiB are 67 MB: before the ninth image 26 MB are free, before the tenth 21 MB."""
    on(site, small_disk, disk_warn_free="55MB", disk_refuse_free="25MB")
    assert told(site) == {}
    taken, heard = send_until_refused(site)
    assert (taken, heard) == (9, "rejected 2")
    assert told(site) == {"intake disk": "DISK_NEARLY_FULL"}
    said = status_of(site)
    assert "No new studies are accepted." in said
    assert "DISK_NEARLY_FULL" in said

    is_finished(site)
    assert show_tidying(site.settings, dry_run=False, console=Console(file=io.StringIO())) == 0
    wait_until(lambda: send(site, 100) == "0000")
    assert told(site) == {}
    assert claimed_but_gone(site) == []
    assert site.one("SELECT count(*) FROM instance") == taken + 1


def test_a_disk_that_is_full_all_the_same_takes_nothing_by_halves(site, small_disk, monkeypatch):
    monkeypatch.setattr(disk_condition, "_noted_at", {})
    on(site, small_disk, disk_warn_free="0%", disk_refuse_free="0%")
    taken, heard = send_until_refused(site)
    assert (taken, heard) == (13, "A700 DISK_FULL")
    assert site.one("SELECT count(*) FROM instance") == len(site.stored_files()) == taken
    assert claimed_but_gone(site) == []
    assert told(site) == {"intake folder": "DISK_FULL"}

    is_finished(site)
    show_tidying(site.settings, dry_run=False, console=Console(file=io.StringIO()))
    assert told(site) == {}
    assert send(site, 100) == "0000"
