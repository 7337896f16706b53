"""The demo's studies are what they say, and its judge sees what is not as it should be."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from db.values import AuditReport
from db.vocabulary.enums import Lane, Priority, Verdict
from worker.demo import demo
from worker.demo.checks import CheckResult, SentStudy, check_no_restarts, run_checks
from worker.demo.studies import LOSSLESS, DemoStudy, demo_studies
from worker.demo.table import in_four_characters, results_table
from worker.errors import Rejected
from worker.imaging.decoders import decode_frame
from worker.imaging.pixels import normalise_frame
from worker.imaging.preprocessing import PreprocessingSpec
from worker.imaging.refusals import RefusedInstance
from worker.local.exclusive import locked
from worker.local.installation import process_specs


@pytest.fixture(scope="module")
def studies() -> list[DemoStudy]:
    return demo_studies()


def test_every_lossless_encoding_is_there_and_holds_the_same_stored_values(studies):
    chests = {s.syntax: s for s in studies if s.refusal is None}
    assert set(chests) == set(LOSSLESS)
    values = [decode_frame(study.dataset)[0] for study in chests.values()]
    assert all(np.array_equal(values[0], other) for other in values[1:])


def test_sv1_really_uses_selection_value_1(studies):
    (study,) = [s for s in studies if s.syntax_name == "JPEG Lossless SV1"]
    data = study.dataset.PixelData
    scan = data.index(b"\xff\xda")  # SOS: length 8, one component, then Ss = selection value
    assert data[scan + 2 : scan + 8] == b"\x00\x08\x01" + data[scan + 5 : scan + 7] + b"\x01"


def test_every_study_is_one_of_its_own(studies):
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert len({s.dataset[keyword].value for s in studies}) == len(studies)


def test_exactly_one_is_stat(studies):
    assert [s.priority for s in studies].count(Priority.STAT) == 1


def test_what_is_cut_short_is_refused_as_such(studies):
    (study,) = [s for s in studies if s.refusal == "PIXEL_DATA_TRUNCATED"]
    with pytest.raises(RefusedInstance, match="PIXEL_DATA_TRUNCATED"):
        normalise_frame(study.dataset, PreprocessingSpec())


# -- the judge ----------------------------------------------------------------------------------


STEPS = ("read_seconds", "normalise_seconds", "inference_seconds", "store_seconds")


def sent(study: DemoStudy, probability: float = 0.5, **changes: object) -> SentStudy:
    """A study with the result it should have, but for `changes`."""
    refused = study.refusal is not None
    summary = {
        "waiting_seconds": 1234.5,
        "turnaround_seconds": 12.345,
        "model_name": None if refused else "resnet50-0.2.0",
        "verdict": Verdict.REJECTED if refused else Verdict.POSITIVE,
        "probability": None if refused else probability,
        "priority": study.priority,
        "error_code": None,
    } | changes
    refusal = SimpleNamespace(code=changes.get("code", study.refusal)) if refused else None
    lane = changes.get("lane", Lane(study.priority.value))
    detail = SimpleNamespace(
        summary=SimpleNamespace(**summary),
        instances=[SimpleNamespace(refusal=refusal)],
        attempts=[SimpleNamespace(lane=lane, at=datetime.now(UTC), **dict.fromkeys(STEPS, 12.345))],
    )
    return SentStudy(study=study, detail=detail)


@pytest.fixture
def site(tmp_path):
    (tmp_path / "worker.log").write_text('{"event": "study_stored"}\n')
    return SimpleNamespace(log_dir=tmp_path)


WHOLE = AuditReport(ok=True, records=29, first_broken=None)


def failures(results: list[SentStudy], site, audit: AuditReport = WHOLE) -> list[str]:
    return [f.sentence for f in run_checks(demo_studies(), results, audit, site) if not f.holds]


def test_all_is_well_when_all_is_well(studies, site):
    assert failures([sent(s) for s in studies], site) == []


def spoilt(studies, which, **changes) -> list[SentStudy]:
    """All as it should be but the first study for which `which` holds."""
    index = next(i for i, s in enumerate(studies) if which(s))
    return [sent(s, **(changes if i == index else {})) for i, s in enumerate(studies)]


@pytest.mark.parametrize(
    ("which", "changes", "words"),
    [
        (
            lambda s: not s.refusal,
            {"verdict": Verdict.FAILED, "error_code": "BUG"},
            "found failed BUG",
        ),
        (lambda s: not s.refusal, {"probability": 0.5 + 2e-6}, "largest difference 2.0e-06"),
        (lambda s: s.refusal, {"code": "DECODE_FAILED"}, "found rejected DECODE_FAILED"),
        (lambda s: s.refusal, {"verdict": Verdict.NEGATIVE}, "found negative BODY_PART_NOT_CHEST"),
        (lambda s: s.priority is Priority.STAT, {"lane": Lane.ROUTINE}, "STAT study went"),
    ],
    ids=["not predicted", "another probability", "another refusal", "a wrong verdict", "lane"],
)
def test_what_is_not_as_it_should_be_is_found(studies, site, which, changes, words):
    (found,) = failures(spoilt(studies, which, **changes), site)
    assert words in found


def test_a_missing_result_is_found(studies, site):
    missing = [sent(s) for s in studies if s.syntax_name != "RLE"]
    found = failures(missing, site)
    assert any("4 lossless encodings" in sentence for sentence in found)
    assert any("8 of 9 studies that were sent" in sentence for sentence in found)


def test_a_broken_chain_is_found(studies, site):
    broken = AuditReport(ok=False, records=29, first_broken="Record 3 of chain 5 was changed.")
    assert failures([sent(s) for s in studies], site, broken) == [
        "the audit chain is broken: Record 3 of chain 5 was changed."
    ]


def test_a_name_in_a_log_is_found(studies, site):
    name = str(studies[0].dataset.PatientName)
    (site.log_dir / "listener.log").write_text(f"received {name}\n")
    (found,) = failures([sent(s) for s in studies], site)
    assert "appears in a log" in found


def test_a_part_that_died_on_the_way_is_found():
    sentence = "The worker was killed by signal 9 and is restarted at once."
    assert check_no_restarts([sentence]) == CheckResult(holds=False, sentence=sentence)
    assert check_no_restarts([]).holds


def test_a_study_shows_nothing_personal_of_itself(studies):
    assert not any(str(s.dataset.PatientName) in repr(s) for s in studies)


# -- the table ----------------------------------------------------------------------------------


def lines_at(width: int, studies) -> list[str]:
    """The table of slow studies, as a terminal of this width shows it."""
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    slow = [sent(s, probability=0.123456) for s in studies]
    console.print(results_table(slow, width=width))
    return console.file.getvalue().splitlines()


def test_the_table_fits_into_100_columns_however_slow_the_machine(studies):
    lines = lines_at(100, studies)
    assert max(map(len, lines)) <= 100
    assert len(lines) == 3 + len(studies)  # title, headings, rule: no row needs a second line
    assert "…" not in "".join(lines)


def test_a_narrow_terminal_cuts_no_figure(studies):
    lines = lines_at(80, studies)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert "…" not in text
    assert "by resnet50-0.2.0" in text
    assert text.count("0.123456") == sum(s.refusal is None for s in studies)
    assert text.count("uncompressed") == sum(s.syntax_name == "uncompressed" for s in studies)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0.00"),
        (9.994, "9.99"),
        (9.996, "10.0"),
        (99.94, "99.9"),
        (99.96, "100"),
        (1e4, "10000"),
    ],
)
def test_seconds_take_four_characters(seconds, shown):
    assert in_four_characters(seconds) == shown


# -- the folder ---------------------------------------------------------------------------------


def test_an_old_demo_is_replaced_by_a_fresh_one(tmp_path):
    folder = tmp_path / "demo-state"
    demo.demo_settings(folder)
    (folder / "pneumo.sqlite").touch()
    site = demo.demo_settings(folder)
    assert [path.name for path in folder.iterdir()] == [demo.MARKER]
    assert site.database_url == f"sqlite:///{folder}/pneumo.sqlite"


def test_a_demo_that_still_runs_is_not_removed(tmp_path):
    folder = tmp_path / "demo-state"
    with (
        locked(demo.demo_settings(folder)),
        pytest.raises(Rejected, match="already running in this state folder"),
    ):
        demo.demo_settings(folder)
    assert (folder / demo.MARKER).exists()


def test_a_demo_stays_in_its_folder_whatever_the_site_is_set_to(tmp_path, monkeypatch):
    for name in ("DATABASE_URL", "RUN_DIR", "STATE_DIR"):
        monkeypatch.setenv(f"PNEUMO_{name}", f"sqlite:///{tmp_path}/of-the-site")
    site = demo.demo_settings(tmp_path / "demo-state")
    assert "of-the-site" not in str(site)


def test_a_demo_reaches_nothing_of_the_site_around_it(tmp_path, monkeypatch):
    """Its results stay here, and no file of a hospital is moved into a folder that is removed."""
    theirs = {
        "PEERS": f"{tmp_path}/of-the-site",
        "WATCH_FOLDER": f"{tmp_path}/of-the-site",
        "TLS_CERTIFICATE": f"{tmp_path}/of-the-site",
        "BROKER_URL": "redis://of-the-site/0",
        "LISTEN_HOST": "of-the-site",
        "LISTEN_TLS": "mutual",
        "CALLING_AE_TITLES": "OF-THE-SITE",
        "CALLED_AE_TITLES": "OF-THE-SITE",
    }
    for name, value in theirs.items():
        monkeypatch.setenv(f"PNEUMO_{name}", value)
    site = demo.demo_settings(tmp_path / "demo-state")
    assert "of-the-site" not in str(site).lower()
    assert (site.peers, site.watch_folder, site.listen_tls) == (None, None, "off")
    parts = {part.name for part in process_specs(site, concurrency=1)}
    assert parts == {"broker", "worker", "suspect", "relay", "listener"}


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(Rejected, match="was not made by a demo"):
        demo.demo_settings(tmp_path)
    assert (tmp_path / "thesis.txt").exists()
