"""What must hold when the dust has settled; each check returns what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from db.ledger.audit import verify_chains
from tests.chaos.site import ChaosSite
from tests.chaos.studies import SPOILED, ChaosStudy, Kind

FATES = """
SELECT i.sop_instance_uid, s.state, s.error_code, i.refusal_code,
       (SELECT count(*) FROM prediction p WHERE p.instance_id = i.id)
FROM instance i JOIN study s ON s.id = i.study_id
"""


def find_faults(site: ChaosSite, studies: Sequence[ChaosStudy]) -> list[str]:
    """Return a sentence for everything that broke a promise; none, if all is well."""
    return [
        *_every_instance_met_its_fate(site, studies),
        *_every_delivery_arrived_once(site),
        *_events_came_once(site),
        *_files_and_rows_agree(site),
        *_the_trail_is_whole(site),
        *[f"no process crashed at: {step}" for step in sorted(site.steps - site.crashed_steps())],
    ]


def expected_fate(study: ChaosStudy, row: tuple) -> bool:
    """Whether state, code, refusal and predictions are what this kind of study comes to."""
    _, state, code, refusal, predictions = row
    match study.kind:
        case Kind.GOOD:
            return (state, refusal, predictions) == ("done", None, 1)
        case Kind.BAD:
            return state == "done" and refusal in SPOILED and predictions == 0
        case Kind.CRASHES_WORKER:
            return (state, code, predictions) == ("parked", "CRASHED_WORKER", 0)
        case Kind.CRASHES_DECODER:
            return (state, refusal, predictions) == ("done", "DECODER_CRASHED", 0)


def _every_instance_met_its_fate(site: ChaosSite, studies: Sequence[ChaosStudy]) -> list[str]:
    rows = {row[0]: row for row in site.installation.rows(FATES)}
    acknowledged = Counter(site.acknowledged())
    wrong = [
        f"study {study.uid} ({study.kind}): {rows.get(study.sop_instance_uid)}"
        for study in studies
        if study.sop_instance_uid not in rows
        or not expected_fate(study, rows[study.sop_instance_uid])
    ]
    missing = [s.uid for s in studies if acknowledged[s.sop_instance_uid] != 1]
    return wrong + [f"never acknowledged: {uid}" for uid in missing]


def _every_delivery_arrived_once(site: ChaosSite) -> list[str]:
    """Check that every finished study has one delivery, sent once, and the PACS each object unchanged."""
    ask = site.installation.rows
    finished = {key for (key,) in ask("SELECT study_key FROM study WHERE state = 'done'")}
    deliveries = Counter(key for (key,) in ask("SELECT study_key FROM result_delivery"))
    wrong = [f"deliveries of {key}: {deliveries[key]}" for key in finished if deliveries[key] != 1]
    wrong += [f"delivery for {key}, which has no result" for key in {*deliveries} - finished]
    states = Counter(s for (s,) in ask("SELECT state FROM result_delivery"))
    wrong += [f"deliveries in state {s}: {n}" for s, n in states.items() if s != "sent"]
    promised = {uid for (uid,) in ask("SELECT sop_instance_uid FROM result_object")}
    wrong += [f"result objects that never came: {len(promised - {*site.pacs.uids})}"] * bool(
        promised - {*site.pacs.uids}
    )
    wrong += [f"objects without a row: {len({*site.pacs.uids} - promised)}"] * bool(
        {*site.pacs.uids} - promised
    )
    by_uid: dict[str, object] = {}
    for dataset in site.pacs.received:
        if by_uid.setdefault(str(dataset.SOPInstanceUID), dataset) != dataset:
            wrong.append("an object came twice with different content")
    return wrong


def _events_came_once(site: ChaosSite) -> list[str]:
    once = ("study_accepted", "study_finished", "prediction_recorded", "result_sent")
    listed = ", ".join(f"'{event}'" for event in once)
    doubled = site.installation.rows(
        "SELECT event, study_key, count(*) FROM audit_record WHERE study_key IS NOT NULL AND"
        f" event IN ({listed}) GROUP BY event, study_key HAVING count(*) > 1"
    )
    return [f"{event} of {key} is recorded {n} times" for event, key, n in doubled]


def _files_and_rows_agree(site: ChaosSite) -> list[str]:
    intake = site.installation.settings.intake_dir
    files = {str(p.relative_to(intake)) for p in intake.rglob("*") if p.is_file()}
    named = {name for (name,) in site.installation.rows("SELECT file_name FROM instance")}
    return [f"orphan file: {n}" for n in files - named if "orphan" not in n] + [
        f"lost file: {n}" for n in named - files
    ]


def _the_trail_is_whole(site: ChaosSite) -> list[str]:
    with site.installation.database.transaction() as session:
        report = verify_chains(session)
    return [] if report.ok else [f"the audit trail is broken: {report}"]
