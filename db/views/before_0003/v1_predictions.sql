-- v1_predictions as it was until migration 0003 gave it `replaced_in_revision`.
CREATE VIEW v1_predictions AS
SELECT
    study.study_key,
    numbered.instance_number,
    instance.revision AS instance_revision,
    prediction.frame_number,
    model_version.name AS model_version,
    model_version.architecture,
    model_version.bundle_digest,
    prediction.preprocessing_version,
    prediction.logit,
    prediction.probability,
    prediction.threshold,
    prediction.verdict,
    prediction.device,
    inference_run.attempt,
    instance.modality,
    instance.body_part,
    instance.view_position,
    instance.manufacturer,
    instance.transfer_syntax_name AS transfer_syntax,
    instance."rows",
    instance."columns",
    study.patient_sex,
    CASE WHEN study.patient_age_years >= 90 THEN 90 ELSE study.patient_age_years END
        AS patient_age_years,
    study.site_ae_title,
    prediction.recorded_at,
    prediction.distance
FROM prediction
JOIN instance ON instance.id = prediction.instance_id
JOIN (
    SELECT
        instance.id,
        ROW_NUMBER() OVER (PARTITION BY instance.study_id ORDER BY instance.id) AS instance_number
    FROM instance
) AS numbered ON numbered.id = instance.id
JOIN study ON study.id = instance.study_id
JOIN inference_run ON inference_run.id = prediction.inference_run_id
JOIN model_version ON model_version.id = prediction.model_version_id
