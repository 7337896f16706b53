"""A disk that is nearly full: senders are told to come back, and nothing is taken over by halves."""

from __future__ import annotations

import resource

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import (
    ComputedRadiographyImageStorage,
    StorageCommitmentPushModel,
    Verification,
)

from db.ledger.conditions import active_conditions
from tests.builders.dicom import make_instance, make_study
from worker.errors import Resource
from worker.intake.accept import accept_study
from worker.intake.drop_folder import HandoverOutcome, accept_folder
from worker.intake.watched_folder import WatchedFolder, WatchPass
from worker.listener.storage_scp import echo
from worker.storage import disk_condition
from worker.storage.disk import DiskThresholds, disk_monitor_of
from worker.storage.disk_condition import DiskCondition
from worker.storage.storage_factory import intake_storage

CR = ComputedRadiographyImageStorage
FULL = {"disk_refuse_free": "100%"}
"""No disk has all of itself free, so this one is nearly full."""
ROOMY = {"disk_warn_free": "0%", "disk_refuse_free": "0%"}


def becomes(site, **changes):
    site.settings = site.settings.model_copy(update=changes)
    return site


def asked(site, *sop_classes) -> tuple[int, int, int] | None:
    """None if the association was taken, else result, source and reason of the rejection."""
    unit = AE(ae_title="SENDER")
    for sop_class in sop_classes:
        unit.add_requested_context(sop_class)
    opened = unit.associate("127.0.0.1", site.settings.listen_port, ae_title="PNEUMO")
    if not opened.is_rejected:
        opened.abort()
        return None
    answer = opened.acceptor.primitive
    return answer.result, answer.result_source, answer.diagnostic


def holds(site) -> dict[str, str]:
    with site.database.reading() as session:
        return {condition.subject: condition.code for condition in active_conditions(session)}


def test_new_associations_are_asked_to_come_back_and_health_checks_are_not(site):
    becomes(site, **FULL).listen()
    assert asked(site, CR) == (2, 3, 2)
    assert asked(site, Verification, CR) == (2, 3, 2)
    assert asked(site, Verification) is None
    assert asked(site, StorageCommitmentPushModel) is None
    assert echo(site.settings)


def test_a_caller_who_is_not_listed_hears_that_and_not_to_come_back(site):
    becomes(site, calling_ae_titles="PACS", **FULL).listen()
    assert asked(site, CR) == (1, 1, 3)


def test_an_association_that_is_open_hears_a700_with_the_code(site):
    site.listen()
    watch = disk_monitor_of(site.settings)

    def disk_is(ladder):  # the disk stays as it is, what is asked of it moves
        watch._thresholds, watch._queried_at = ladder, None

    with site.association((CR, ExplicitVRLittleEndian)) as opened:
        assert opened.send_c_store(make_instance()).Status == 0x0000
        disk_is(DiskThresholds(warn="100%", refuse="100%"))
        refused = opened.send_c_store(make_instance())
        assert (refused.Status, refused.ErrorComment) == (0xA700, "DISK_NEARLY_FULL")
        disk_is(DiskThresholds(warn="0%", refuse="0%"))
        assert opened.send_c_store(make_instance()).Status == 0x0000
    assert len(site.stored_files()) == site.one("SELECT count(*) FROM instance") == 2


def test_a_watched_folder_waits_untouched_until_there_is_room(site, tmp_path):
    folder = tmp_path / "watched"
    files = make_study(folder, n_instances=2)
    (folder / "letter.txt").write_text("Dear colleague")
    before = {path: path.stat() for path in folder.iterdir()}
    becomes(site, watch_settle_s=0.0, **FULL)
    watcher = WatchedFolder(folder=folder, settings=site.settings, database=site.database)
    for _ in range(2):
        with pytest.raises(Resource, match=r"DISK_NEARLY_FULL: .*files in a folder are accepted"):
            watcher.run_once()
    assert {path: path.stat() for path in folder.iterdir()} == before
    assert site.stored_files() == []
    watcher.settings = becomes(site, **ROOMY).settings
    assert watcher.run_once() == WatchPass(taken_over=len(files), refused=1)


def test_files_are_refused_in_words_and_a_handed_over_folder_waits(site, tmp_path):
    becomes(site, **FULL)
    files = make_study(tmp_path / "study", n_instances=2)
    with pytest.raises(Resource, match="DISK_NEARLY_FULL"):
        accept_study(files, database=site.database, site=site.settings)
    assert site.stored_files() == []

    name = "0" * 32
    make_study(site.settings.handed_over_dir / name, n_instances=2)
    with pytest.raises(Resource, match="DISK_NEARLY_FULL"):
        accept_folder(name, site.settings, site.database)
    assert site.one("SELECT count(*) FROM study") == 0
    becomes(site, **ROOMY)
    assert accept_folder(name, site.settings, site.database) is HandoverOutcome.TAKEN_OVER
    assert site.one("SELECT count(*) FROM instance") == 2


def test_the_relay_tells_and_takes_back_what_the_disk_does(site):
    def turn():
        DiskCondition(site.settings, site.database).run_once()
        return holds(site)

    becomes(site, disk_warn_free="100%", disk_refuse_free="0%")
    assert turn() == {"intake disk": "DISK_LOW"}
    becomes(site, **FULL)
    assert turn() == {"intake disk": "DISK_NEARLY_FULL"}
    becomes(site, **ROOMY)
    assert turn() == {}


def test_a_condition_that_goes_on_is_not_written_each_second(site):
    relay = DiskCondition(becomes(site, **FULL).settings, site.database)
    for _ in range(5):
        relay.run_once()
    assert site.one("SELECT times FROM site_condition") == 1


def test_a_disk_that_writers_find_full_is_told_until_it_can_be_written(site, tmp_path, monkeypatch):
    """As under a quota: the file system claims room and gives none."""
    monkeypatch.setattr(disk_condition, "_noted_at", {})
    becomes(site, **ROOMY)
    (large,) = make_study(tmp_path / "study", n_instances=1, rows=2100, columns=1000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, hard))
    try:
        with pytest.raises(Resource, match="DISK_FULL"):
            accept_study(large, database=site.database, site=site.settings)
        DiskCondition(site.settings, site.database).run_once()
        assert holds(site) == {"intake folder": "DISK_FULL"}
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    DiskCondition(site.settings, site.database).run_once()
    assert holds(site) == {}
    assert site.stored_files() == []


def test_an_intake_folder_that_is_away_is_told_and_never_made_anew(site, tmp_path):
    site.listen()
    intake, elsewhere = site.settings.intake_dir, tmp_path / "elsewhere"
    assert [s.Status for s in site.send(make_instance())] == [0x0000], "a new site makes its own"
    disk_condition._noted_at.clear()
    intake.rename(elsewhere)
    for empty in (False, True):  # renamed away; then a mount point without its mount
        if empty:
            intake.mkdir()
        (refused,) = site.send(make_instance())
        assert (refused.Status, refused.ErrorComment) == (0xA700, "INTAKE_FOLDER_MISSING")
        with pytest.raises(Resource, match=r"INTAKE_FOLDER_MISSING: .*Mount or move it back"):
            accept_study(make_study(tmp_path / "s"), database=site.database, site=site.settings)
    assert holds(site) == {"intake folder": "INTAKE_FOLDER_MISSING"}
    DiskCondition(site.settings, site.database).run_once()
    assert holds(site) == {"intake folder": "INTAKE_FOLDER_MISSING"}
    assert list(intake.iterdir()) == [], "nothing was made where the disk will be mounted"

    intake.rmdir()
    elsewhere.rename(intake)
    assert [s.Status for s in site.send(make_instance())] == [0x0000]
    DiskCondition(site.settings, site.database).run_once()
    assert holds(site) == {}
    assert site.one("SELECT count(*) FROM instance") == len(site.stored_files()) == 2


def test_an_intake_folder_that_goes_away_in_mid_file_is_not_made_anew(site, tmp_path):
    part = intake_storage(site.settings, site.database).begin()
    site.settings.intake_dir.rename(tmp_path / "elsewhere")
    part.write(b"half")
    with pytest.raises(Resource, match="DISK_ERROR"):
        part.keep()
    assert not site.settings.intake_dir.exists()
