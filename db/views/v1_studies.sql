-- v1_studies: one row for each study. No personal data, no UIDs. All times are UTC.
--
-- study_key            opaque key of the study (32 hex digits); joins the v1 views
-- revision             1; one more each time new images came to a running or finished study, or an
--                      image came again changed
-- source               way in: python, cli, c_store, message
-- site_ae_title        sending site
-- priority             as asked: stat, routine
-- lane                 where it goes now: stat, routine, suspect (workers died on it)
-- state                receiving, accepted, queued, running, done, parked
-- verdict              positive, negative, rejected (nothing eligible), failed (parked); NULL: none yet
-- probability          calibrated probability of pneumonia, highest of its eligible frames, 0..1
-- threshold            operating point then; positive means probability >= threshold
-- model_version        name of the model version that gave the verdict
-- patient_sex          M, F, O or NULL
-- patient_age_years    age at the study; 90 stands for 90 and over
-- instances            images received; of one that came again changed, the last counts
-- predicted_instances  images that have a prediction
-- refused_instances    images that were refused (v1_refusals_by_code says why)
-- attempts             how often a worker claimed it
-- crashes              workers that died with it in an ordinary lane
-- crashes_alone        workers that died with it alone in the suspect lane
-- retries              passing failures (network, memory) in this revision
-- error_code           code of the last failure; NULL once it is done
-- error_kind           rejected, transient, resource, bug
-- closed_by            rule that said it is complete: sender, manifest, pacs_count, idle_window
-- received_at          first image of this revision came
-- closed_at            it was complete
-- started_at           it was first claimed
-- finished_at          it was done or parked
-- waiting_seconds      closed_at until started_at
-- turnaround_seconds   received_at until finished_at
-- expected_instances   images that the sender's manifest names; NULL without one
-- patient_pseudonym    the same for all studies of a patient (64 hex digits); NULL if no Patient ID is
--                      known, if it was erased, or in the first minute
CREATE VIEW v1_studies AS
SELECT
    study.study_key,
    study.revision,
    study.source,
    study.site_ae_title,
    study.priority,
    study.lane,
    study.state,
    study.verdict,
    study.probability,
    study.threshold,
    model_version.name AS model_version,
    study.patient_sex,
    CASE WHEN study.patient_age_years >= 90 THEN 90 ELSE study.patient_age_years END
        AS patient_age_years,
    -- Study by study, so that whoever asks for a few does not have the images of all counted.
    (
        SELECT NULLIF(COUNT(*), 0) FROM instance
        WHERE instance.study_id = study.id AND instance.replaced_in_revision IS NULL
    ) AS instances,
    (
        SELECT SUM(CASE WHEN instance.state = 'predicted' THEN 1 ELSE 0 END) FROM instance
        WHERE instance.study_id = study.id AND instance.replaced_in_revision IS NULL
    ) AS predicted_instances,
    (
        SELECT SUM(CASE WHEN instance.state = 'refused' THEN 1 ELSE 0 END) FROM instance
        WHERE instance.study_id = study.id AND instance.replaced_in_revision IS NULL
    ) AS refused_instances,
    study.attempts,
    study.crashes,
    study.crashes_alone,
    study.retries,
    study.error_code,
    study.error_kind,
    study.closed_by,
    study.received_at,
    study.closed_at,
    study.started_at,
    study.finished_at,
    study.waiting_seconds,
    study.turnaround_seconds,
    study_manifest.instances AS expected_instances,
    study_identity.patient_pseudonym
FROM study
LEFT JOIN model_version ON model_version.id = study.model_version_id
LEFT JOIN study_manifest ON study_manifest.study_id = study.id
LEFT JOIN study_identity ON study_identity.study_id = study.id
