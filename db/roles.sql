-- Who may do what, on PostgreSQL. Run it as the owner of the tables, after `pneumo migrate`:
--     psql "$PNEUMO_DATABASE_URL_FOR_PSQL" -f db/roles.sql
-- Then give people and processes a login that is a member: GRANT pneumo_worker TO gpu_node_1;
-- It may be run again; later migrations that add tables say so in their notes.
--
-- pneumo_worker   listener, relay, workers: rows come and change, but the audit trail only grows, and
--                 nothing is ever deleted, but for requests to a PACS that nobody waits for
-- pneumo_privacy  erases identities (with the audit record that says so)
-- pneumo_analyst  reads the documented views, and no table
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['pneumo_worker', 'pneumo_privacy', 'pneumo_analyst'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        END IF;
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA public TO pneumo_worker, pneumo_privacy, pneumo_analyst;

GRANT SELECT, INSERT, UPDATE ON
    study, instance, model_version, inference_run, worker_heartbeat, site_condition,
    study_manifest, study_origin, result_destination, result_delivery, result_object,
    commitment_asked
    TO pneumo_worker;
GRANT SELECT, INSERT ON
    study_identity, prediction, shadow_prediction, audit_record TO pneumo_worker;
GRANT UPDATE (patient_pseudonym, accession_pseudonym) ON study_identity TO pneumo_worker;
GRANT DELETE ON commitment_asked TO pneumo_worker;
GRANT SELECT, UPDATE ON audit_chain_head TO pneumo_worker;
GRANT SELECT, INSERT, UPDATE ON audit_forwarded TO pneumo_worker;
GRANT SELECT ON alembic_version TO pneumo_worker;
GRANT SELECT ON
    v1_studies, v1_predictions, v1_refusals_by_code, v1_turnaround_by_priority,
    v1_shadow_agreement, v1_deliveries TO pneumo_worker;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO pneumo_worker;

GRANT SELECT (id, study_key, study_instance_uid) ON study TO pneumo_privacy;
GRANT SELECT, DELETE ON study_identity TO pneumo_privacy;
-- Outstanding results of an erased person are cancelled; nothing else of them may change.
GRANT SELECT ON result_delivery, model_version TO pneumo_privacy;
GRANT UPDATE (state, due_at, lease_until) ON result_delivery TO pneumo_privacy;
GRANT SELECT, INSERT ON audit_record TO pneumo_privacy;
GRANT SELECT, UPDATE ON audit_chain_head TO pneumo_privacy;
GRANT USAGE ON SEQUENCE audit_record_id_seq TO pneumo_privacy;

GRANT SELECT ON
    v1_studies, v1_predictions, v1_refusals_by_code, v1_turnaround_by_priority,
    v1_shadow_agreement, v1_deliveries TO pneumo_analyst;
