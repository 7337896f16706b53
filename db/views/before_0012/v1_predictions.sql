-- v1_predictions: one row for each prediction (a frame by a model version). No personal data, no UIDs.
--
-- study_key              opaque key of the study; joins the v1 views
-- instance_number        which image of the study, from 1 in order of arrival
-- instance_revision      revision of the study that the image came with
-- frame_number           which frame of the image, from 1
-- model_version          name of the model version
-- architecture           its network: resnet50, vgg16
-- bundle_digest          SHA-256 that pins weights, threshold and preprocessing recipe
-- preprocessing_version  version of the preprocessing code
-- logit                  network's output before calibration
-- probability            calibrated probability of pneumonia, 0..1
-- threshold              operating point then
-- verdict                positive (probability >= threshold) or negative
-- device                 what computed it: cpu, or a GPU's name
-- attempt                number of the study's attempt that made it
-- modality               CR, DX
-- body_part              defined term of the image, NULL if absent
-- view_position          PA, AP; NULL if absent
-- manufacturer           of the device that took the image
-- transfer_syntax        how the pixels were encoded
-- rows, columns          size of the image in pixels
-- patient_sex            M, F, O or NULL
-- patient_age_years      age at the study; 90 stands for 90 and over
-- site_ae_title          sending site
-- recorded_at            when it was stored, UTC
-- distance               of the frame from the model's training images (1: as they lie from each other);
--                        NULL if the model version does not measure it
-- replaced_in_revision   revision of the study in which the image came again changed, so that this
--                        prediction no longer counts for the study; NULL: it counts
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
    prediction.distance,
    instance.replaced_in_revision
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
