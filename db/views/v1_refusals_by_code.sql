-- v1_refusals_by_code: one row for each reason why images were refused; an image that came again
-- changed counts as it is now. No personal data, no UIDs.
--
-- refusal_code        stable code of the reason
-- refusal_step        where it was found: header, eligibility, decode, normalise, assess
-- refusal_tag         DICOM attribute that it is about, NULL if none
-- instances           images refused for it
-- studies             studies that have such an image
-- rejected_studies    of these, studies in which no image was eligible (verdict rejected)
-- share_of_instances  of all images that were judged (predicted or refused), 0..1
-- first_received_at   first such image came, UTC
-- last_received_at    last such image came, UTC
CREATE VIEW v1_refusals_by_code AS
SELECT
    instance.refusal_code,
    MIN(instance.refusal_step) AS refusal_step,
    MIN(instance.refusal_tag) AS refusal_tag,
    COUNT(*) AS instances,
    COUNT(DISTINCT instance.study_id) AS studies,
    COUNT(DISTINCT CASE WHEN study.verdict = 'rejected' THEN study.id END) AS rejected_studies,
    CAST(COUNT(*) AS DOUBLE PRECISION) / (
        SELECT COUNT(*) FROM instance AS judged
        WHERE judged.state IN ('predicted', 'refused') AND judged.replaced_in_revision IS NULL
    ) AS share_of_instances,
    MIN(instance.received_at) AS first_received_at,
    MAX(instance.received_at) AS last_received_at
FROM instance
JOIN study ON study.id = instance.study_id
WHERE instance.state = 'refused' AND instance.replaced_in_revision IS NULL
GROUP BY instance.refusal_code
