"""Archives that answer with so many studies at most: told, found out, or left in doubt."""

from __future__ import annotations

import pytest
from rich.console import Console

from tests.builders.dicom import make_instance
from tests.builders.dimse_archive import DimseArchive
from tests.builders.dimse_archive import serve_dimse_archive as serving_dimse
from tests.builders.fetching_node import configure_peers
from tests.builders.web_archive import WebArchive
from tests.builders.web_archive import serve_web_archive as serving_web
from tests.integration.worker.archive.find.test_search import DAY, peer_at
from worker.archive.find.answers import Answer, FoundStudy
from worker.archive.find.search import find_day
from worker.archive.find.truncated_answers import find_whole_day, is_likely_limit
from worker.errors import Transient, Unavailable
from worker.peers.peers_file import read_peers
from worker.screens.backfill import backfill_and_show
from worker.screens.coverage import show_coverage

SEARCH = 'search = "c-find"\nretrieve = "c-get"\n'


def studies(count: int, *, minutes_apart: int = 7, begins: int = 6 * 60) -> dict:
    """One after another from six in the morning."""
    made = {}
    for number in range(count):
        at = begins + number * minutes_apart
        made[f"1.2.3.{number}"] = [
            make_instance(
                rows=4, columns=4, study_instance_uid=f"1.2.3.{number}",
                StudyTime=f"{at // 60:02}{at % 60:02}30",
            )
        ]  # fmt: skip
    return made


def uids(found) -> set[str]:
    return {study.study_instance_uid for study in found.studies}


# --- an archive that says so ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "only_refuses"),
    [(0xA700, False), (0xA700, True), (0xB000, False), (0xFE00, False), (0xC001, False)],
)
def test_a_status_that_cuts_an_answer_off_splits_the_day(site, tmp_path, status, only_refuses):
    archive = DimseArchive(
        studies(8, minutes_apart=50), most=3, cut_status=status, only_refuses=only_refuses
    )
    with serving_dimse(archive):
        found = find_day(peer_at(site, tmp_path, archive.port, SEARCH), site.settings, DAY)
    assert uids(found) == archive.studies.keys()
    assert found.truncation is None
    assert {query.StudyDate for query in archive.asked} == {"20260102"}


def test_more_in_one_minute_than_the_limit_is_told(site, tmp_path):
    archive = DimseArchive(studies(5, minutes_apart=0), most=3, cut_status=0xB000)
    with serving_dimse(archive):
        found = find_day(peer_at(site, tmp_path, archive.port, SEARCH), site.settings, DAY)
    assert len(uids(found)) == 3
    assert found.truncation is not None
    assert (found.truncation.is_certain, found.truncation.answers) == (True, 3)


def test_an_archive_that_does_not_look_at_the_time_is_not_asked_on_and_on(site, tmp_path):
    archive = DimseArchive(studies(9), most=4, cut_status=0xB000, matches_time=False)
    with serving_dimse(archive):
        found = find_day(peer_at(site, tmp_path, archive.port, SEARCH), site.settings, DAY)
    assert (len(uids(found)), len(archive.asked)) == (4, 3)
    assert found.truncation is not None
    assert found.truncation.is_certain


def test_studies_without_a_time_cannot_be_told_apart_by_it(site, tmp_path):
    archive = DimseArchive(studies(9), most=4, cut_status=0xB000)
    del archive.studies["1.2.3.0"][0].StudyTime
    with serving_dimse(archive):
        found = find_day(peer_at(site, tmp_path, archive.port, SEARCH), site.settings, DAY)
    assert uids(found) == archive.studies.keys()
    assert found.truncation is not None, "there may be more of them, behind the limit"


def test_an_archive_that_refuses_everything_is_away(site, tmp_path):
    archive = DimseArchive(studies(2), status=0xA700)
    with serving_dimse(archive), pytest.raises(Unavailable, match="out of resources"):
        find_day(peer_at(site, tmp_path, archive.port, SEARCH), site.settings, DAY)
    assert len(archive.asked) < 9


def test_a_failure_without_any_match_is_a_failure(site, tmp_path):
    archive = DimseArchive(studies(2), status=0xC001)
    with serving_dimse(archive), pytest.raises(Transient, match="SEARCH_FAILED"):
        find_day(peer_at(site, tmp_path, archive.port, SEARCH), site.settings, DAY)
    assert len(archive.asked) == 1


# --- an archive that stops without a word ---------------------------------------------------------


@pytest.mark.parametrize(("limit", "says"), [(50, ""), (7, "search_limit = 7\n")])
def test_a_silent_limit_is_found_out(site, tmp_path, limit, says):
    archive = DimseArchive(studies(limit + 9), most=limit)
    with serving_dimse(archive):
        found = find_day(peer_at(site, tmp_path, archive.port, SEARCH + says), site.settings, DAY)
    assert uids(found) == archive.studies.keys()
    assert found.truncation is None


def test_a_round_number_that_is_the_truth_costs_two_questions(site, tmp_path):
    archive = DimseArchive(studies(50, minutes_apart=14))
    with serving_dimse(archive):
        found = find_day(peer_at(site, tmp_path, archive.port, SEARCH), site.settings, DAY)
    assert (len(uids(found)), len(archive.asked), found.truncation) == (50, 3, None)


def test_below_a_limit_that_is_known_nothing_is_suspicious(site, tmp_path):
    archive = DimseArchive(studies(50))
    with serving_dimse(archive):
        peer = peer_at(site, tmp_path, archive.port, SEARCH + "search_limit = 500\n")
        find_day(peer, site.settings, DAY)
    assert len(archive.asked) == 1


@pytest.mark.parametrize(
    ("answers", "is_one"),
    [(0, False), (49, False), (50, True), (64, True), (99, False), (500, True), (1024, True)],
)
def test_limits_are_round(answers, is_one):
    assert is_likely_limit(answers) is is_one


class Remembered:
    """An archive in memory that gives its first `most` studies, by minutes; to try many at once."""

    def __init__(self, minutes: list[int], most: int) -> None:
        self.minutes, self.most, self.asked = minutes, most, 0

    def studies(self, keys):
        self.asked += 1
        assert self.asked < 5000
        begins, _, ends = keys.get("StudyTime", "000000-235959").partition("-")
        found = [
            FoundStudy(study_instance_uid=f"1.{n}", modalities=frozenset(), instances=1)
            for n, at in enumerate(self.minutes)
            if begins <= f"{at // 60:02}{at % 60:02}30" <= ends
        ]
        return Answer(studies=tuple(found[: self.most]))


@pytest.mark.parametrize("most", [1, 2, 7, 50, 333])
@pytest.mark.parametrize("apart", [1, 2, 3])
def test_whatever_the_limit_no_study_is_missed_and_none_told_twice(most, apart):
    archive = Remembered([n * apart for n in range(480)], most)
    found, doubt = find_whole_day(archive, DAY, limit=most)
    assert len(found) == len({study.study_instance_uid for study in found}) == 480
    assert doubt is None or most == 1, "one a minute, and one at most: the last could be two"


# --- QIDO-RS --------------------------------------------------------------------------------------


def web_peer(site, folder, archive):
    configure_peers(site, folder, f'[web]\ndicomweb = "{archive.url}"\nsearch = "qido-rs"\n')
    (peer,) = read_peers(site.settings.peers)
    return peer


def web_studies(count: int, **values) -> WebArchive:
    uids = [f"1.2.3.{number}" for number in range(count)]
    times = {uid: f"{6 + number // 60:02}{number % 60:02}30" for number, uid in enumerate(uids)}
    return WebArchive({uid: [b""] for uid in uids}, times=times, **values)


@pytest.mark.parametrize("warns", [False, True])
def test_a_server_that_gives_its_first_page_again_and_again(site, tmp_path, warns):
    archive = web_studies(100, page=12, knows_offset=False, warns=warns)
    with serving_web(archive):
        found = find_day(web_peer(site, tmp_path, archive), site.settings, DAY)
    assert uids(found) == archive.files.keys()
    assert found.truncation is None


def test_a_server_that_knows_neither_offset_nor_time_is_in_doubt(site, tmp_path):
    archive = web_studies(100, page=12, knows_offset=False, warns=True)
    archive.times.clear()
    with serving_web(archive):
        found = find_day(web_peer(site, tmp_path, archive), site.settings, DAY)
    assert (len(uids(found)), len(archive.asked)) == (12, 6)
    assert found.truncation is not None
    assert found.truncation.is_certain


def test_a_server_without_pages_that_gives_all_is_believed(site, tmp_path):
    archive = web_studies(30, knows_offset=False)
    with serving_web(archive):
        found = find_day(web_peer(site, tmp_path, archive), site.settings, DAY)
    assert (len(uids(found)), found.truncation) == (30, None)


@pytest.mark.parametrize("status", [404, 500])
def test_a_server_with_another_address_does_not_look_empty(site, tmp_path, status):
    def refuse(request) -> bool:
        request.send_error(status)
        return True

    archive = web_studies(3, behave=refuse)
    with serving_web(archive), pytest.raises(Transient, match=f"SEARCH_FAILED.*{status}"):
        find_day(web_peer(site, tmp_path, archive), site.settings, DAY)


# --- what a person is told ------------------------------------------------------------------------


def test_backfill_and_coverage_name_the_days_in_doubt(site, tmp_path, capsys):
    archive = DimseArchive(studies(5), most=3, cut_status=0xB000, matches_time=False)
    console = Console(width=100)
    with serving_dimse(archive):
        peer_at(site, tmp_path, archive.port, SEARCH)
        code = backfill_and_show(
            site.settings, first=DAY, last=DAY, modality="all", rate="1000/s", window=None,
            outstanding=50, peer=None, console=console,
        )  # fmt: skip
        told = capsys.readouterr().out
        assert (code, "2026-01-02" in told, "SEARCH_CUT_OFF" in told) == (1, True, True)
        assert site.one("SELECT count(*) FROM study") == 3, "what it told is ordered all the same"
        code = show_coverage(site.settings, first=DAY, last=DAY, modality="all", console=console)
    told = capsys.readouterr().out
    assert (code, "SEARCH_CUT_OFF" in told) == (1, True)
