-- v1_refusals_by_code as it was until migration 0003: replaced images unknown.
CREATE VIEW v1_refusals_by_code AS
SELECT
    instance.refusal_code,
    MIN(instance.refusal_step) AS refusal_step,
    MIN(instance.refusal_tag) AS refusal_tag,
    COUNT(*) AS instances,
    COUNT(DISTINCT instance.study_id) AS studies,
    COUNT(DISTINCT CASE WHEN study.verdict = 'rejected' THEN study.id END) AS rejected_studies,
    CAST(COUNT(*) AS DOUBLE PRECISION) / (
        SELECT COUNT(*) FROM instance AS judged WHERE judged.state IN ('predicted', 'refused')
    ) AS share_of_instances,
    MIN(instance.received_at) AS first_received_at,
    MAX(instance.received_at) AS last_received_at
FROM instance
JOIN study ON study.id = instance.study_id
WHERE instance.state = 'refused'
GROUP BY instance.refusal_code
