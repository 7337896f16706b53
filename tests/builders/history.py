"""The rows of an installation that has run for years: nearly all is done, little is open.

Written by PostgreSQL itself, since a million rows by way of the verbs would take hours. The audit
trail's hashes are made up, so `verify` would complain.
"""

from __future__ import annotations

import hashlib

from db.engine.session import Database

HISTORY_UID = "1.2.826.0.1.3680043.8.498.7"
"""Study number N, from 1, is UID.N; the higher, the newer."""
APART_S = 60
"""One study came each so many seconds."""


def fill_history(database: Database, studies: int) -> None:
    """Make so many studies (at least 1000) with all that belongs to them, and let the planner know.

    Of a thousand the four newest are open, five of the others are parked; one in four is rejected.
    Files older than the hundredth part of the time have left.
    """
    with database.engine.begin() as connection:
        # As long as it fills, nobody checks one by one what is right by its making.
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        for statement in _STATEMENTS:
            made = statement.replace("STUDIES", str(studies)).replace("%", "%%")
            connection.exec_driver_sql(made)
    with database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM ANALYZE")


def history_key(number: int | str) -> str:
    """Key of study number N; of its delivery with "dN"."""
    return hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()


_STATEMENTS = (
    """
    INSERT INTO model_version (name, architecture, bundle_digest, preprocessing_version, temperature,
        threshold, location, is_active, registered_at)
    VALUES ('m', 'resnet50', 'd', '1', 1, 0.5, 'm', true, now())
    """,
    """
    INSERT INTO result_destination (name, is_active, takes_rejected, first_seen_at, failures)
    VALUES ('archive', true, true, now(), 0)
    """,
    f"""
    INSERT INTO study (study_key, study_instance_uid, revision, state, priority, lane, source,
        closed_by, verdict, model_version_id, attempts, crashes, crashes_alone, retries, received_at,
        closed_at, started_at, finished_at, due_at, published_at, waiting_seconds,
        turnaround_seconds, error_code, files_left_at)
    SELECT md5(n::text), '{HISTORY_UID}.' || n, 1, state, lane, lane,
        CASE WHEN n % 2 = 0 THEN 'pull' ELSE 'c_store' END, 'sender',
        CASE WHEN state = 'parked' THEN 'failed' WHEN state <> 'done' THEN NULL
             WHEN n % 4 = 0 THEN 'rejected' WHEN n % 7 = 0 THEN 'positive' ELSE 'negative' END,
        CASE WHEN state = 'done' THEN 1 END, 1, 0, 0, 0, came, came,
        CASE WHEN state IN ('done', 'parked', 'running') THEN came END,
        CASE WHEN state IN ('done', 'parked') THEN came + interval '20 s' END,
        CASE WHEN state IN ('accepted', 'queued') THEN came
             WHEN state = 'receiving' THEN came + n % 2 * interval '1 day' END,
        CASE WHEN state = 'queued' THEN came END,
        CASE WHEN state = 'done' THEN n % 97 END, CASE WHEN state = 'done' THEN n % 311 END,
        CASE WHEN state = 'parked' THEN 'NO_PIXELS' END,
        CASE WHEN state = 'done' AND n <= STUDIES * 0.99 THEN came + interval '1 day' END
    FROM (
        SELECT n, now() - (STUDIES + 1 - n) * interval '{APART_S} s' AS came,
            CASE WHEN n % 10 = 0 THEN 'stat' ELSE 'routine' END AS lane,
            CASE WHEN n > STUDIES - STUDIES / 2000 THEN 'receiving'
                 WHEN n > STUDIES - STUDIES / 1000 THEN 'running'
                 WHEN n > STUDIES - 2 * STUDIES / 1000 THEN 'queued'
                 WHEN n > STUDIES - 4 * STUDIES / 1000 THEN 'accepted'
                 WHEN n % 200 = 0 THEN 'parked' ELSE 'done' END AS state
        FROM generate_series(1, STUDIES) AS n
    ) AS planned
    ORDER BY n
    """,
    """
    INSERT INTO study_origin (study_id, peer, way, ordered_at, fetched_at)
    SELECT id, 'archive', 'c-get', received_at,
        CASE WHEN state IN ('done', 'parked') THEN received_at END
    FROM study WHERE source = 'pull'
    """,
    """
    INSERT INTO instance (study_id, revision, sop_instance_uid, series_instance_uid, sop_class_uid,
        transfer_syntax_uid, file_sha256, file_name, file_bytes, state, refusal_code, refusal_step,
        received_at, file_removed_at)
    SELECT id, 1, study_instance_uid || '.1.1', study_instance_uid || '.1',
        '1.2.840.10008.5.1.4.1.1.1', '1.2.840.10008.1.2.1', study_key || study_key,
        'ab/' || study_key || study_key || '.dcm', 1000,
        CASE WHEN verdict = 'rejected' THEN 'refused' WHEN state = 'done' THEN 'predicted'
             ELSE 'pending' END,
        CASE WHEN verdict = 'rejected' THEN 'NOT_FRONTAL' END,
        CASE WHEN verdict = 'rejected' THEN 'eligibility' END, received_at, files_left_at
    FROM study
    """,
    """
    INSERT INTO inference_run (study_id, attempt, revision, worker_name, lane, model_version_id,
        started_at, lease_until, ended_at, outcome)
    SELECT id, 1, 1, 'w', lane, 1, started_at, now() + (id % 5 - 1) * interval '60 s', finished_at,
        state
    FROM study WHERE state IN ('done', 'parked', 'running')
    """,
    """
    INSERT INTO prediction (instance_id, inference_run_id, model_version_id, frame_number,
        preprocessing_version, logit, probability, threshold, verdict, device, normalisation,
        warnings, recorded_at)
    SELECT instance.id, inference_run.id, 1, 1, '1', 0, 0.1, 0.5, study.verdict, 'cpu', '{}', '[]',
        study.finished_at
    FROM study JOIN instance ON instance.study_id = study.id
    JOIN inference_run ON inference_run.study_id = study.id
    WHERE instance.state = 'predicted'
    """,
    """
    INSERT INTO shadow_prediction (instance_id, inference_run_id, model_version_id, frame_number,
        preprocessing_version, logit, probability, threshold, verdict, device, recorded_at)
    SELECT instance_id, inference_run_id, 1, 1, '1', 0, 0.1, 0.5, verdict, 'cpu', recorded_at
    FROM prediction WHERE id % 4 = 0
    """,
    """
    INSERT INTO result_delivery (delivery_key, study_id, study_key, revision, model_version_id,
        destination, state, verdict, finished_at, attempts, failures, refusals, crashes, due_at,
        begun_at, created_at, sent_at, lease_until)
    SELECT md5('d' || id), id, study_key, 1, 1, 'archive', goes, verdict, finished_at, 1, 0, 0, 0,
        CASE WHEN goes IN ('waiting', 'awaiting_commitment') THEN finished_at END, finished_at,
        finished_at, CASE WHEN goes = 'sent' THEN finished_at END,
        CASE WHEN goes = 'sending' THEN finished_at END
    FROM (
        SELECT *, CASE WHEN id > STUDIES * 0.995 THEN 'waiting' WHEN id > STUDIES * 0.994 THEN 'sending'
            WHEN id > STUDIES * 0.993 THEN 'awaiting_commitment' WHEN id % 1000 = 1 THEN 'parked'
            ELSE 'sent' END AS goes
        FROM study WHERE state = 'done'
    ) AS planned
    """,
    """
    INSERT INTO result_object (delivery_id, made_by_attempt, sop_class_uid, sop_instance_uid,
        series_instance_uid, sha256)
    SELECT id, 1, '1.2.840.10008.5.1.4.1.1.88.33', '2.25.' || id, '2.25.9' || id,
        study_key || study_key
    FROM result_delivery
    """,
    """
    INSERT INTO commitment_asked (transaction_uid, delivery_id, attempt, asked_at)
    SELECT '2.25.8' || id, id, 1, created_at FROM result_delivery
    WHERE state = 'awaiting_commitment' OR id % 1000 = 2
    """,
    """
    INSERT INTO audit_record (chain, sequence, event, occurred_at, study_key, actor, detail,
        previous_hash, hash)
    SELECT n % 16, n / 16 + 1, 'study_finished', now(), md5((n % STUDIES + 1)::text), 'w', '{}',
        md5(n::text), md5(n::text)
    FROM generate_series(0, 3 * STUDIES - 1) AS n
    """,
    "UPDATE audit_chain_head SET sequence = STUDIES",
)
