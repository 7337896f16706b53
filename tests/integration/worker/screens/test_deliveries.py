"""What an operator reads and does about results on their way to the PACS."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta

import pytest
from rich.console import Console

from db.deliveries.claims import park_delivery
from db.ledger.conditions import note_condition
from db.ledger.heartbeats import record_heartbeat
from db.studies.retention import mark_removed
from tests.builders.database import (
    accept_one,
    claim_one,
    ensure_model,
    finish_one,
    make_failure,
    one,
    positive_outcome,
    store,
    uid_of,
)
from tests.builders.deliveries import (
    activate_destinations,
    claim_one_delivery,
    delivery_states,
    publish_due_deliveries,
    send_one_delivery,
)
from worker.errors import Rejected
from worker.local.installation import process_specs
from worker.screens.cancel_deliveries import cancel_deliveries_and_show
from worker.screens.deliveries import retry_deliveries, show_deliveries
from worker.screens.erase import erase_identity_of
from worker.screens.past_results import enqueue_past_results_and_show
from worker.screens.status import show_status
from worker.screens.tidy import show_tidying


def printed(show, *arguments, **values) -> str:
    console = Console(width=160, file=io.StringIO(), record=True)
    show(*arguments, console=console, **values)
    return " ".join(console.export_text().split())


def one_of_each(database) -> str:
    """One sent, one parked, one waiting; the parked one's key."""
    activate_destinations(database, "archive")
    for number in range(3):
        finish_one(database, uid=uid_of(number))
    first, second, _ = publish_due_deliveries(database)
    send_one_delivery(database, claim_one_delivery(database, first))
    parked = claim_one_delivery(database, second)
    with database.transaction() as session:
        park_delivery(session, parked, make_failure("rejected", "REFUSED", "It says no."))
    return second


def test_without_a_destination_it_says_where_to_name_one(settings):
    assert "Add one to the file of PNEUMO_PEERS" in printed(show_deliveries, settings, parked=False)
    assert "Results on their way" not in printed(show_status, settings)


def test_counts_by_destination_and_why_one_is_parked(settings, database):
    key = one_of_each(database)
    said = printed(show_deliveries, settings, parked=True)
    assert "│ archive │ 1 │ 1 │ 0 │ 0 │ 0 │ 1 │ 0 │" in said
    assert key[:12] in said
    assert "REFUSED. It says no." in said
    with pytest.raises(Rejected, match="known are: archive"):
        printed(show_deliveries, settings, parked=False, destination="web")


def test_status_says_what_a_person_should_do(settings, database):
    one_of_each(database)
    with database.transaction() as session:
        note_condition(session, "destination archive", "DESTINATION_AWAY", "No answer.")
    said = printed(show_status, settings)
    assert "No running worker delivers results (1 result waiting)." in said
    assert "Parked for archive: 1 result (REFUSED 1). " in said
    assert "removed by the retention rule" not in said
    assert "destination archive: DESTINATION_AWAY" in said

    with database.transaction() as session:
        record_heartbeat(
            session, worker_name="w-1", lanes="delivery", device="cpu", model_name=None
        )
    activate_destinations(database, "web")
    said = printed(show_status, settings)
    assert "No running worker delivers" not in said
    assert "Results are waiting for archive, which is no longer a destination." in said


def test_status_says_what_to_do_where_images_left(settings, database):
    activate_destinations(database, "archive")
    for number in range(2):
        finish_one(database, uid=uid_of(number))
    for key, code in zip(
        publish_due_deliveries(database), ["RESULT_FILES_GONE", "REFUSED"], strict=True
    ):
        claim = claim_one_delivery(database, key)
        with database.transaction() as session:
            park_delivery(session, claim, make_failure("rejected", code))
    for said in (printed(show_status, settings), printed(show_deliveries, settings, parked=False)):
        assert "Parked for archive: 2 results (REFUSED 1, RESULT_FILES_GONE 1)." in said
        assert (
            "The images of 1 result were removed by the retention rule. Have these studies sent"
            in said
        )


@pytest.mark.parametrize("named", [True, False])
def test_parked_deliveries_are_retried(settings, database, named):
    key = one_of_each(database)
    console = Console(file=io.StringIO())
    keys = [key[:8]] if named else []
    assert retry_deliveries(settings, keys, console=console) == 0
    assert delivery_states(database) == ["sent", "waiting", "waiting"]
    assert retry_deliveries(settings, [key], console=console) == 1


TODAY = datetime.now(UTC).date()
YESTERDAY = TODAY - timedelta(days=1)  # the test may begin at midnight


def test_past_results_are_enqueued_and_counted(settings, database):
    first, second = finish_one(database, uid=uid_of(1)), finish_one(database, uid=uid_of(2))
    activate_destinations(database, "web")
    with database.transaction() as session:
        study = one(database, "SELECT id FROM study WHERE study_key = :key", key=second)
        mark_removed(session, study, keep_days=0, actor="test")
    asked = {"destination": "web", "first": YESTERDAY, "last": date(9999, 12, 31)}

    said = printed(enqueue_past_results_and_show, settings, dry_run=True, **asked)
    assert "Would be enqueued for web: 1 result. Enqueued before: 0 results." in said
    assert delivery_states(database) == []
    said = printed(enqueue_past_results_and_show, settings, dry_run=False, **asked)
    assert "Enqueued for web: 1 result. Enqueued before: 0 results." in said
    assert "Left out: 1 result; the images were removed by the retention rule" in said
    assert said.endswith(second)
    assert first not in said
    said = printed(enqueue_past_results_and_show, settings, dry_run=False, **asked)
    assert "Enqueued for web: 0 results. Enqueued before: 1 result." in said
    assert (
        enqueue_past_results_and_show(
            settings, dry_run=False, console=Console(file=io.StringIO()), **asked
        )
        == 1
    )


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"destination": None}, "OWE_WHICH"),
        ({"first": None}, "OWE_WHICH"),
        ({"last": None}, "OWE_WHICH"),
        ({"is_alone": False}, "OWE_WHICH"),
        ({"destination": "gone"}, "DESTINATION_UNKNOWN: .*known are: web"),
        ({"destination": "nobody"}, "DESTINATION_UNKNOWN"),
        ({"last": YESTERDAY - timedelta(days=1)}, "DAYS_INVALID"),
    ],
)
def test_what_cannot_be_enqueued_is_refused(settings, database, wrong, code):
    activate_destinations(database, "gone")
    activate_destinations(database, "web")
    asked = {"destination": "web", "first": YESTERDAY, "last": TODAY, "dry_run": False}
    with pytest.raises(Rejected, match=code):
        enqueue_past_results_and_show(settings, **(asked | wrong))


def test_what_nobody_will_take_is_cancelled_after_a_question(settings, database):
    key = one_of_each(database)
    asked = []
    said = printed(cancel_deliveries_and_show, settings, [], destination="archive", dry_run=True)
    assert said == "Would be cancelled: 2 results (2 for archive)."
    with pytest.raises(KeyboardInterrupt):
        printed(
            cancel_deliveries_and_show,
            settings,
            [],
            destination="archive",
            dry_run=False,
            confirm=refuse,
        )
    assert delivery_states(database) == ["sent", "parked", "waiting"]

    values = {"destination": None, "dry_run": False, "confirm": asked.append}
    said = printed(cancel_deliveries_and_show, settings, [key[:12], "0" * 12], **values)
    assert said == f"{'0' * 12}: nothing is outstanding Cancelled: 1 result (1 for archive)."
    assert asked == ["Cancel 1 result (1 for archive) for good?"]
    assert delivery_states(database) == ["sent", "forgone", "waiting"]


def refuse(_words):
    raise KeyboardInterrupt


@pytest.mark.parametrize("wrong", [{"keys": []}, {"keys": ["abc"]}, {"is_alone": False}])
def test_nothing_is_cancelled_that_was_not_named(settings, wrong):
    asked = {"keys": ["a" * 12], "destination": None, "dry_run": False}
    with pytest.raises(Rejected, match="FORGO_WHICH"):
        cancel_deliveries_and_show(settings, **(asked | wrong))


def test_files_that_are_kept_for_an_outstanding_result_are_reported(settings, database):
    activate_destinations(database)
    finish_one(database)
    at_once = settings.model_copy(update={"keep_files_days": 1e-9})
    assert "1 file (" in (said := printed(show_status, at_once))
    assert "of 1 study, because results are still to be sent." in said
    said = printed(show_tidying, at_once, dry_run=True)
    assert "kept: results of 1 study are still to be sent" in said
    assert "Kept beyond their term" not in printed(show_status, settings)


def test_erasing_a_person_cancels_results_that_name_them(settings, database, capsys):
    activate_destinations(database, "archive", "web")
    key = finish_one(database)
    to_web = one(database, "SELECT delivery_key FROM result_delivery WHERE destination = 'web'")
    send_one_delivery(database, claim_one_delivery(database, to_web))
    assert erase_identity_of(settings, key, yes=True) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Cancelled 1 delivery" in said
    assert "were sent earlier to web" in said
    assert delivery_states(database) == ["forgone", "sent"]
    assert erase_identity_of(settings, key, yes=True) == 1


def test_erasing_one_without_a_patient_id_holds_as_well_and_says_what_it_did(
    settings, database, capsys
):
    activate_destinations(database)
    key = finish_one(database, patient_id=None, accession_number=None)
    send_one_delivery(database, claim_one_delivery(database))
    assert erase_identity_of(settings, key, yes=True) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "no patient id or accession number is kept" in said
    assert "no result of this study is sent from now on" in said
    again = accept_one(database, 2, patient_id=None, accession_number=None)
    claim = claim_one(database, again.study_key)
    store(database, claim, positive_outcome(claim, ensure_model(database)))
    assert delivery_states(database) == ["sent"], "nothing is enqueued for a late image"
    assert erase_identity_of(settings, key, yes=True) == 1


def test_an_installation_with_a_destination_has_a_delivery_worker(settings, tmp_path):
    def names(peers):
        made = process_specs(settings.model_copy(update={"peers": peers}), concurrency=1)
        return {part.name: " ".join(part.command) for part in made}

    peers = tmp_path / "peers.toml"
    peers.write_text('[pacs]\ndicomweb = "https://pacs.example"\nretrieve = "wado-rs"\n')
    assert "delivery" not in names(None) | names(peers)
    peers.write_text('[pacs]\ndicomweb = "https://pacs.example"\nresults = "stow-rs"\n')
    commands = names(peers)
    assert "-Q delivery" in commands["delivery"]
    assert not [n for n, words in commands.items() if " delivery" in words and n != "delivery"]
