-- v1_shadow_agreement: one row for each frame that the active model predicted and the shadow too. The
-- shadow's figures decide nothing and stand in no other view. No personal data, no UIDs.
--
-- study_key           opaque key of the study; joins the v1 views
-- instance_number     which image of the study, from 1 in order of arrival
-- frame_number        which frame of the image, from 1
-- active_version      model version that gave the result
-- active_probability  its calibrated probability of pneumonia, 0..1
-- active_verdict      positive or negative, at its operating point
-- shadow_version      model version that was the shadow then
-- shadow_probability  its calibrated probability, 0..1
-- shadow_verdict      positive or negative at its own operating point; rejected: it would not have
--                     assessed the frame, which lies too far from its training images
-- agrees              1 if both verdicts are the same, else 0
-- difference          shadow_probability less active_probability
-- recorded_at         when the shadow's prediction was stored, UTC
CREATE VIEW v1_shadow_agreement AS
SELECT
    study.study_key,
    -- Counted within the study: numbering the images of all studies would read them all.
    (
        SELECT COUNT(*) FROM instance AS earlier
        WHERE earlier.study_id = instance.study_id AND earlier.id <= instance.id
    ) AS instance_number,
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
    -- Of the same attempt. Written so, since PostgreSQL takes a third equation for a coincidence,
    -- expects next to no rows and reads all of both tables to find the newest.
    AND prediction.inference_run_id
        BETWEEN shadow_prediction.inference_run_id AND shadow_prediction.inference_run_id
JOIN instance ON instance.id = shadow_prediction.instance_id
JOIN study ON study.id = instance.study_id
JOIN model_version AS active_model ON active_model.id = prediction.model_version_id
JOIN model_version AS shadow_model ON shadow_model.id = shadow_prediction.model_version_id
