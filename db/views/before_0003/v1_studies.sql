-- v1_studies as it was until migration 0003: no `expected_instances`, replaced images unknown.
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
    counted.instances,
    counted.predicted_instances,
    counted.refused_instances,
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
    study.turnaround_seconds
FROM study
LEFT JOIN model_version ON model_version.id = study.model_version_id
LEFT JOIN (
    SELECT
        instance.study_id,
        COUNT(*) AS instances,
        SUM(CASE WHEN instance.state = 'predicted' THEN 1 ELSE 0 END) AS predicted_instances,
        SUM(CASE WHEN instance.state = 'refused' THEN 1 ELSE 0 END) AS refused_instances
    FROM instance
    GROUP BY instance.study_id
) AS counted ON counted.study_id = study.id
