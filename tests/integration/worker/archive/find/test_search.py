"""What an archive has: its answers read, its counts used, its days ordered and covered."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta

import pytest
from pydicom import dcmread
from rich.console import Console
from sqlalchemy import text

from db.ledger.conditions import end_condition, note_condition
from db.studies.completeness import close_if_complete
from tests.builders.dicom import make_instance, make_study
from tests.builders.dimse_archive import DimseArchive
from tests.builders.dimse_archive import serve_dimse_archive as serving_dimse
from tests.builders.fetching_node import change_settings, configure_peers
from tests.builders.ports import free_port
from tests.builders.waiting import scaled, wait_until
from tests.builders.web_archive import WebArchive
from tests.builders.web_archive import serve_web_archive as serving_web
from worker.archive import completeness
from worker.archive.backfill import Backfill, BackfillProgress, Rate, Window, backfill
from worker.archive.completeness import CompletenessChecker
from worker.archive.find.search import count_images, find_day, open_search
from worker.errors import Rejected, Unavailable
from worker.intake.accept import expect_instances
from worker.peers.peers_file import read_peers
from worker.screens.coverage import show_coverage

DAY, NEXT = date(2026, 1, 2), date(2026, 1, 3)
WAYS = 'search = "c-find"\ncount = "c-find"\nretrieve = "c-get"\n'


def dated(uid: str, day: date = DAY, **values):
    return make_instance(
        rows=8, columns=8, study_instance_uid=uid, study_date=day.strftime("%Y%m%d"), **values
    )


@pytest.fixture
def archive():
    """Two radiographs on the first day, one on the next, a CT beside them."""
    studies = {
        "1.2.3.1": [dated("1.2.3.1")],
        "1.2.3.2": [dated("1.2.3.2", modality="DX")],
        "1.2.3.3": [dated("1.2.3.3", NEXT)],
        "1.2.3.4": [dated("1.2.3.4", modality="CT")],
    }
    with serving_dimse(DimseArchive(studies)) as served:
        yield served


def peer_at(site, folder, port: int, says: str = WAYS):
    configure_peers(
        site, folder, f'[pacs]\nae_title = "ARCHIVE"\nhost = "127.0.0.1"\nport = {port}\n{says}',
        archive_timeout_s=scaled(5),
    )  # fmt: skip
    return read_peers(site.settings.peers).named("pacs")


# --- finding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("says_modalities", [True, False])
def test_modalities_are_looked_over_again(site, tmp_path, archive, says_modalities):
    archive.says_modalities = says_modalities
    peer = peer_at(site, tmp_path, archive.port)
    found = find_day(peer, site.settings, DAY, ["DX", "CR"]).studies
    expected = {"1.2.3.1", "1.2.3.2"} if says_modalities else {"1.2.3.1", "1.2.3.2", "1.2.3.4"}
    assert {study.study_instance_uid for study in found} == expected
    assert len(found) == len(expected), "each once"
    assert [query.ModalitiesInStudy for query in archive.asked] == ["CR", "DX"]


def test_a_search_that_is_refused(site, tmp_path, archive):
    archive.status = 0xA700
    with pytest.raises(Unavailable, match="ARCHIVE_AWAY"):
        find_day(peer_at(site, tmp_path, archive.port), site.settings, DAY)


@pytest.mark.parametrize("knows_offset", [True, False])
def test_pages_of_any_size_are_read_to_their_end(site, tmp_path, knows_offset):
    served = WebArchive(
        {f"1.2.3.{number}": [b""] for number in range(7)}, page=3, knows_offset=knows_offset
    )
    with serving_web(served):
        configure_peers(site, tmp_path, f'[web]\ndicomweb = "{served.url}"\nsearch = "qido-rs"\n')
        (peer,) = read_peers(site.settings.peers)
        found = find_day(peer, site.settings, DAY).studies
    assert len(found) == (7 if knows_offset else 3)
    assert "StudyDate=20260102" in served.asked[0]


def test_a_server_without_count_or_with_nonsense(site, tmp_path):
    served = WebArchive({"1.2.3.1": [b"", b""]}, counts={"1.2.3.1": "many"})
    with serving_web(served):
        configure_peers(site, tmp_path, f'[web]\ndicomweb = "{served.url}"\ncount = "qido-rs"\n')
        (peer,) = read_peers(site.settings.peers)
        with open_search(peer, site.settings, "qido-rs") as archive:
            assert count_images(archive, "1.2.3.1") is None
            served.counts["1.2.3.1"] = 2
            assert count_images(archive, "1.2.3.1") == 2
            assert count_images(archive, "1.2.3.9") is None


# --- counting ------------------------------------------------------------------------------------


@pytest.fixture
def at_once(site, monkeypatch):
    change_settings(site, count_quiet_s=1e-6)
    monkeypatch.setattr(completeness, "RECHECK_S", 0.0)


def state(site) -> list[tuple]:
    return site.rows("SELECT state, closed_by FROM study ORDER BY id")


def test_the_archives_count_closes_a_study(site, tmp_path, at_once, archive):
    datasets = [dcmread(path) for path in make_study(tmp_path / "s", 2, study_instance_uid="1.5")]
    archive.studies["1.5"] = datasets
    peer_at(site, tmp_path, archive.port)
    site.listen()
    ours = CompletenessChecker(site.settings, site.database)

    site.send(datasets[0])
    assert ours.run_once() == 0
    assert state(site) == [("receiving", None)]
    site.send(datasets[1])
    assert ours.run_once() == 1
    assert state(site) == [("accepted", "pacs_count")]
    assert ours.run_once() == 0


def test_a_manifest_knows_better_than_a_count(site, tmp_path, at_once, archive):
    """The archive has one image so far; the sender said that there will be two."""
    peer_at(site, tmp_path, archive.port)
    image = archive.studies["1.2.3.1"][0]
    expect_instances(
        "1.2.3.1",
        [image.SOPInstanceUID, "1.2.3.1.99"],
        database=site.database,
        settings=site.settings,
    )
    site.listen()
    site.send(image)
    with site.database.transaction() as session:
        (key,) = (row.study_key for row in session.execute(text("SELECT study_key FROM study")))
        assert not close_if_complete(session, key, 1)
    assert CompletenessChecker(site.settings, site.database).run_once() == 0
    assert state(site) == [("receiving", None)]


def test_while_images_come_nobody_is_asked(site, tmp_path, at_once, archive):
    change_settings(site, count_quiet_s=60)
    peer_at(site, tmp_path, archive.port)
    site.listen()
    site.send(archive.studies["1.2.3.1"][0])
    assert CompletenessChecker(site.settings, site.database).run_once() == 0
    assert state(site) == [("receiving", None)]


def test_a_study_that_the_archive_does_not_know_waits_for_its_window(site, tmp_path, at_once):
    with serving_dimse(DimseArchive()) as empty:
        peer_at(site, tmp_path, empty.port)
        site.listen()
        site.send(make_instance())
        assert CompletenessChecker(site.settings, site.database).run_once() == 0
    assert state(site) == [("receiving", None)]


@pytest.mark.parametrize("status", [404, 500])
def test_a_study_that_cannot_be_counted_does_not_hold_up_the_next(site, tmp_path, at_once, status):
    images = [make_instance(study_instance_uid=f"1.2.3.{number}") for number in (1, 2)]

    def refuse_the_first(request) -> bool:
        if "1.2.3.1&" in f"{request.path}&":
            request.send_error(status)
            return True
        return False

    archive = WebArchive({"1.2.3.1": [b""], "1.2.3.2": [b""]}, behave=refuse_the_first)
    with serving_web(archive):
        configure_peers(site, tmp_path, f'[web]\ndicomweb = "{archive.url}"\ncount = "qido-rs"\n')
        site.listen()
        site.send(*images)
        assert CompletenessChecker(site.settings, site.database).run_once() == 1
    assert state(site) == [("receiving", None), ("accepted", "pacs_count")]


def test_an_archive_that_is_away_changes_nothing_but_the_condition(
    site, tmp_path, at_once, archive
):
    site.listen()
    site.send(archive.studies["1.2.3.1"][0])
    change_settings(site, retry_base_s=0.001, retry_ceiling_s=0.001)
    peer_at(site, tmp_path, free_port())
    ours = CompletenessChecker(site.settings, site.database)
    assert ours.run_once() == 0
    assert state(site) == [("receiving", None)]
    subjects = "SELECT subject, code FROM site_condition WHERE ended_at IS NULL"
    assert site.rows(subjects) == [("archive pacs", "ARCHIVE_AWAY")]

    site.settings.peers.write_text("no TOML")
    assert ours.run_once() == 0
    assert ("file of peers", "PEERS_INVALID") in site.rows(subjects)

    peer_at(site, tmp_path, archive.port)
    wait_until(lambda: ours.run_once() == 1)
    assert site.rows(subjects) == []


def test_it_counts_beside_the_relay_and_ends_with_it(site, tmp_path, at_once, archive):
    peer_at(site, tmp_path, archive.port)
    site.listen()
    site.send(archive.studies["1.2.3.1"][0])
    stop = threading.Event()
    thread = completeness.start_completeness_thread(site.settings, stop)
    wait_until(lambda: state(site) == [("accepted", "pacs_count")])
    stop.set()
    thread.join(scaled(10))
    assert not thread.is_alive()


def test_without_a_file_of_peers_nobody_counts(site):
    assert completeness.start_completeness_thread(site.settings, threading.Event()) is None


# --- backfill ------------------------------------------------------------------------------------


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self, at: str = "2026-06-01T12:00:00") -> None:
        self.now = datetime.fromisoformat(at).replace(tzinfo=UTC)
        self.slept: list[float] = []

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)


def run(site, peer, clock=None, **values) -> BackfillProgress:
    clock = clock or Clock()
    wanted = {
        "first": DAY, "last": NEXT, "modalities": ("CR", "DX"),
        "rate": Rate(studies=1, per_s=60), **values,
    }  # fmt: skip
    return backfill(
        Backfill(peer=peer, **wanted), site.settings, site.database,
        sleep=clock.sleep, clock=clock,
    )  # fmt: skip


def ordered(site) -> list[str]:
    return [uid for (uid,) in site.rows("SELECT study_instance_uid FROM study ORDER BY id")]


def test_days_are_ordered_at_the_rate_and_never_as_stat(site, tmp_path, archive):
    clock = Clock()
    done = run(site, peer_at(site, tmp_path, archive.port), clock)
    assert (done.days_done, done.found, done.known, done.ordered) == (2, 3, 0, 3)
    assert ordered(site) == ["1.2.3.1", "1.2.3.2", "1.2.3.3"]
    assert site.rows("SELECT DISTINCT priority, source FROM study") == [("routine", "pull")]
    assert clock.slept == [60, 60]


def test_what_was_stopped_goes_on(site, tmp_path, archive):
    peer, clock = peer_at(site, tmp_path, archive.port), Clock()

    def stopped(_seconds):
        raise KeyboardInterrupt

    clock.sleep = stopped
    with pytest.raises(KeyboardInterrupt):
        run(site, peer, clock)
    assert ordered(site) == ["1.2.3.1"]
    done = run(site, peer)
    assert (done.found, done.known, done.ordered) == (3, 1, 2)
    assert run(site, peer).ordered == 0


def test_only_within_the_window(site, tmp_path, archive):
    clock = Clock("2026-06-01T19:59:30")
    run(site, peer_at(site, tmp_path, archive.port), clock, window=Window.parse("20:00-20:01"))
    assert len(ordered(site)) == 3
    assert clock.now.time().isoformat("minutes") == "20:00"
    assert clock.now.day == 3, "one order in each night's only minute"


def test_only_so_many_at_once(site, tmp_path, archive):
    clock = Clock()

    def one_is_done(seconds):
        clock.now += timedelta(seconds=seconds)
        most.append(len(site.rows("SELECT id FROM study WHERE state = 'accepted'")))
        with site.database.transaction() as session:
            session.connection().exec_driver_sql("UPDATE study SET state = 'done'")

    most: list[int] = []
    clock.sleep = one_is_done
    peer = peer_at(site, tmp_path, archive.port)
    run(site, peer, clock, outstanding=1, rate=Rate(studies=1, per_s=0.001))
    assert len(ordered(site)) == 3
    assert max(most) == 1


def test_an_archive_that_is_away_is_waited_for(site, tmp_path, archive):
    archive.status, clock = 0xA700, Clock()
    met = []

    def comes_back(seconds):
        clock.now += timedelta(seconds=seconds)
        met.extend(site.rows("SELECT code FROM site_condition WHERE ended_at IS NULL"))
        archive.status = None

    clock.sleep = comes_back
    assert run(site, peer_at(site, tmp_path, archive.port), clock).ordered == 3
    assert met[0] == ("ARCHIVE_AWAY",)
    assert site.rows("SELECT code FROM site_condition WHERE ended_at IS NULL") == []


def test_nothing_is_ordered_to_a_disk_without_room(site, tmp_path, archive):
    clock, shown, met = Clock(), [], []
    with site.database.transaction() as session:
        note_condition(session, "fetching disk", "DISK_NEARLY_FULL", "It is nearly full.")

    def makes_room(seconds):
        clock.now += timedelta(seconds=seconds)
        met.append((shown[-1], len(ordered(site))))
        with site.database.transaction() as session:
            end_condition(session, "fetching disk")

    peer = peer_at(site, tmp_path, archive.port)
    backfill(
        Backfill(peer=peer, first=DAY, last=NEXT, modalities=("CR", "DX")),
        site.settings, site.database,
        show=lambda progress: shown.append(progress.waiting_for), sleep=makes_room, clock=clock,
    )  # fmt: skip
    assert met[0] == ("room on the disk (DISK_NEARLY_FULL)", 0)
    assert len(ordered(site)) == 3


def test_a_full_disk_of_a_node_that_is_gone_stops_nothing(site, tmp_path, archive):
    with site.database.transaction() as session:
        note_condition(session, "fetching disk", "DISK_NEARLY_FULL", "It is nearly full.")
        session.connection().exec_driver_sql(
            "UPDATE site_condition SET seen_at = '2020-01-01 00:00:00.000000'"
        )
    assert run(site, peer_at(site, tmp_path, archive.port)).ordered == 3


def test_days_the_wrong_way_round(site, tmp_path, archive):
    with pytest.raises(Rejected, match="DAYS_INVALID"):
        run(site, peer_at(site, tmp_path, archive.port), first=NEXT, last=DAY)


# --- coverage ------------------------------------------------------------------------------------


def test_of_what_the_archive_has_what_became(site, tmp_path, archive, capsys):
    peer = peer_at(site, tmp_path, archive.port)
    run(site, peer, last=DAY)
    with site.database.transaction() as session:
        execute = session.connection().exec_driver_sql
        execute(
            "UPDATE study SET state = 'parked', verdict = 'failed', error_code = 'DISK_FULL'"
            " WHERE study_instance_uid = '1.2.3.1'"
        )
    listing = tmp_path / "never-seen.txt"
    console = Console(width=80)
    code = show_coverage(
        site.settings, first=DAY, last=NEXT, modality="all", listing=listing, console=console
    )
    shown = capsys.readouterr().out
    lines = [line.replace("│", " ").split() for line in shown.splitlines()]
    assert ["2026-01-02", "3", "0", "0", "1", "1", "1", "0", "%"] in lines
    assert ["2026-01-03", "1", "0", "0", "0", "0", "1", "0", "%"] in lines
    assert ["all", "4", "0", "0", "1", "1", "2", "0", "%"] in lines
    assert ["failed", "DISK_FULL", "1"] in lines
    assert code == 1
    assert sorted(listing.read_text().split()) == ["1.2.3.3", "1.2.3.4"]
    assert listing.stat().st_mode & 0o077 == 0
    assert "1.2.3." not in shown
    assert "…" not in shown, "nothing is cut off in a terminal of 80 columns"
