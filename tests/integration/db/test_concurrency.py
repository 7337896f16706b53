"""Real processes and threads that want the same at the same moment."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from itertools import count
from multiprocessing import get_context
from random import Random
from threading import Barrier, Thread
from time import monotonic

from db.engine.session import Database
from db.ledger.audit import verify_chains
from db.ledger.model_registry import activate_model, active_model, register_model
from db.studies.claims import renew_leases
from db.studies.intake import accept
from db.studies.publication import (
    age_routine,
    due_for_publication,
    mark_published,
    sweep_expired_leases,
)
from db.vocabulary.errors import StaleClaim
from tests.builders.database import (
    accept_many,
    accept_one,
    claim_one,
    ensure_model,
    events_of,
    finish_one,
    make_model,
    make_study,
    one,
    positive_outcome,
    rows,
    store,
    uid_of,
)
from tests.builders.deliveries import (
    activate_destinations,
    claim_one_delivery,
    publish_due_deliveries,
)
from tests.builders.waiting import scaled


def test_of_eight_threads_one_gets_a_delivery(database):
    activate_destinations(database)
    finish_one(database)
    (key,) = publish_due_deliveries(database)
    barrier, claims = Barrier(8), []

    def take():
        barrier.wait(timeout=scaled(60))
        claims.append(claim_one_delivery(database, key))

    threads = [Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=scaled(60))
    assert len([claim for claim in claims if claim]) == 1
    assert len(claims) == 8


def accept_in_a_process(url, barrier, answers):
    database = Database(url)
    barrier.wait(timeout=scaled(60))
    with database.transaction() as session:
        accepted = accept(session, make_study(1))
    answers.put((accepted.study_key, accepted.is_new))
    database.dispose()


def test_eight_processes_accept_the_same_study_at_once(url, database):
    spawn = get_context("spawn")
    barrier, answers = spawn.Barrier(8), spawn.Queue()
    processes = [
        spawn.Process(target=accept_in_a_process, args=(url, barrier, answers)) for _ in range(8)
    ]
    for process in processes:
        process.start()
    told = [answers.get(timeout=scaled(60)) for _ in processes]
    for process in processes:
        process.join(timeout=scaled(60))

    assert [process.exitcode for process in processes] == [0] * 8
    assert len({key for key, _ in told}) == 1
    assert Counter(is_new for _, is_new in told) == {True: 1, False: 7}
    assert one(database, "SELECT count(*) FROM study") == 1
    assert one(database, "SELECT count(*) FROM instance") == 1
    assert one(database, "SELECT count(*) FROM study_identity") == 1
    events = Counter(events_of(database, told[0][0]))
    assert events == {"study_accepted": 1, "study_received_again": 7}
    with database.reading() as session:
        assert verify_chains(session).ok


def at_once(count, work):
    """Run `work(number)` in `count` threads from the same moment; returns results and errors."""
    barrier, results, errors = Barrier(count), [], []

    def run(number):
        barrier.wait(timeout=scaled(30))
        try:
            results.append(work(number))
        except Exception as error:  # noqa: BLE001  a thread's failure is the test's
            errors.append(error)

    threads = [Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=scaled(60))
    return results, errors


def test_one_of_eight_threads_gets_the_claim(database):
    key = accept_one(database).study_key

    claims, errors = at_once(8, lambda number: claim_one(database, key, worker_name=f"w-{number}"))

    assert errors == []
    (winner,) = [claimed for claimed in claims if claimed]
    assert rows(database, "SELECT attempts FROM study") == [(1,)]
    assert rows(database, "SELECT attempt, worker_name, outcome FROM inference_run") == [
        (1, winner.worker_name, "running")
    ]


def test_results_of_many_studies_at_once_leave_whole_chains(database):
    model = ensure_model(database)
    keys = accept_many(database, 24)

    def work(number):
        for key in keys[number::8]:
            claimed = claim_one(database, key)
            store(database, claimed, positive_outcome(claimed, model))

    _, errors = at_once(8, work)

    assert errors == []
    assert one(database, "SELECT count(*) FROM prediction") == 24
    with database.reading() as session:
        report = verify_chains(session)
    assert (report.ok, report.first_broken) == (True, None)
    assert report.records == 24 * 3 + 2  # accepted, recorded, finished; registered, activated


class BusySite:
    """Workers of whom some die, relays that sweep, senders that repeat and add images."""

    def __init__(self, database, studies):
        self.database = database
        self.model = ensure_model(database)
        self.keys = accept_many(database, studies)
        self.dies = {key: number % 2 == 0 for number, key in enumerate(self.keys)}

    def all_done(self):
        left = "SELECT count(*) FROM study WHERE state <> 'done'"
        return one(self.database, left) == 0 and not any(self.dies.values())

    def take_part(self, number):
        """Take every part in turn, each thread from another beginning, until all is done."""
        random, until = Random(number), monotonic() + 60
        parts = (self.work, self.relay, self.send_again)
        for turn in count(number):
            if turn > number + 5 and (self.all_done() or monotonic() > until):
                return
            if turn < number + 12 or parts[turn % 3] != self.send_again:  # senders fall silent
                parts[turn % 3](random)

    def work(self, random):
        for key in random.sample(self.keys, len(self.keys)):
            claimed = claim_one(self.database, key, lease_s=-1 if self.dies[key] else 60)
            if claimed and self.dies[key]:
                self.dies[key] = False
            elif claimed:
                self.finish(claimed)

    def finish(self, claimed):
        with self.database.transaction() as session:
            renew_leases(session, [(claimed.study_id, claimed.token)], lease_s=60)
        # Stale: another thread let it die after this one had asked whether it should.
        with suppress(StaleClaim):
            store(self.database, claimed, positive_outcome(claimed, self.model))

    def relay(self, _random):
        with self.database.transaction() as session:
            sweep_expired_leases(session)
        with self.database.transaction() as session:
            age_routine(session, after_s=0)
            due = due_for_publication(session, limit=5, requeue_after_s=0, broker_was_wiped=True)
        with self.database.transaction() as session:
            mark_published(session, [key for key, _ in due])

    def send_again(self, random):
        for study in random.sample(range(len(self.keys)), 4):
            accept_one(self.database, 1, 2, uid=uid_of(study))


def test_everything_at_once_leaves_nothing_lost_and_nothing_twice(database):
    site = BusySite(database, studies=16)

    _, errors = at_once(8, site.take_part)

    assert errors == []
    assert site.all_done()
    late = one(database, "SELECT count(*) FROM instance WHERE sop_instance_uid LIKE '%.1.2'")
    assert late > 0
    assert one(database, "SELECT count(*) FROM prediction") == 16 + late
    assert one(database, "SELECT count(*) FROM instance WHERE state <> 'predicted'") == 0
    recorded = "SELECT count(*) FROM audit_record WHERE event = 'prediction_recorded'"
    assert one(database, recorded) == 16 + late
    with database.reading() as session:
        assert verify_chains(session).ok


def test_eight_new_workers_register_and_activate_the_same_model_at_once(database):
    def start(_number):
        with database.transaction() as session:
            register_model(session, make_model(), actor="installation")
        with database.transaction() as session:
            return activate_model(session, "resnet50-1.0.0", "installation")

    records, errors = at_once(8, start)

    assert errors == []
    assert {record.id for record in records} == {records[0].id}
    with database.reading() as session:
        assert active_model(session).name == "resnet50-1.0.0"
    assert rows(database, "SELECT event FROM audit_record ORDER BY sequence") == [
        ("model_registered",),
        ("model_activated",),
    ]
