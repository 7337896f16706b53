-- v1_shadow_agreement as it was until migration 0003: the same rows, found more slowly.
CREATE VIEW v1_shadow_agreement AS
SELECT
    study.study_key,
    numbered.instance_number,
    shadow_prediction.frame_number,
    active_model.name AS active_version,
    prediction.probability AS active_probability,
    prediction.verdict AS active_verdict,
    shadow_model.name AS shadow_version,
    shadow_prediction.probability AS shadow_probability,
    shadow_prediction.verdict AS shadow_verdict,
    CASE WHEN shadow_prediction.verdict = prediction.verdict THEN 1 ELSE 0 END AS agrees,
    shadow_prediction.probability - prediction.probability AS difference,
    shadow_prediction.recorded_at
FROM shadow_prediction
JOIN prediction
    ON prediction.instance_id = shadow_prediction.instance_id
    AND prediction.frame_number = shadow_prediction.frame_number
    AND prediction.inference_run_id = shadow_prediction.inference_run_id
JOIN instance ON instance.id = shadow_prediction.instance_id
JOIN (
    SELECT
        instance.id,
        ROW_NUMBER() OVER (PARTITION BY instance.study_id ORDER BY instance.id) AS instance_number
    FROM instance
) AS numbered ON numbered.id = instance.id
JOIN study ON study.id = instance.study_id
JOIN model_version AS active_model ON active_model.id = prediction.model_version_id
JOIN model_version AS shadow_model ON shadow_model.id = shadow_prediction.model_version_id
