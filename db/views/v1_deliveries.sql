-- v1_deliveries: one row for each result on its way to one destination. No personal data, no UIDs.
--
-- study_key           opaque key of the study; joins the v1 views
-- revision            revision of the study that the result is about, from 1
-- model_version       model version that gave it
-- destination         the system's name in the site's file of peers
-- state               waiting, sending, sent, awaiting_commitment, committed, parked, superseded (a
--                     newer result took its place before the destination answered that it has this
--                     one; if sending had begun it may hold all of it all the same) or forgone
--                     (somebody let it go: it is not sent any more)
-- verdict             what the result says: positive, negative or rejected
-- is_superseded       1 if a newer result of the study exists for this destination, else 0
-- attempts            tries so far
-- error_code          why it is parked, or why the last try failed; empty when all is well
-- warning             status of the destination that took it with a warning, e.g. B000
-- created_at          when the result was owed, UTC
-- sent_at             when the destination had every object, UTC
-- committed_at        when the destination confirmed that it keeps every object, UTC
CREATE VIEW v1_deliveries AS
SELECT
    result_delivery.study_key,
    result_delivery.revision,
    model_version.name AS model_version,
    result_delivery.destination,
    result_delivery.state,
    result_delivery.verdict,
    CASE WHEN result_delivery.superseded_by IS NULL THEN 0 ELSE 1 END AS is_superseded,
    result_delivery.attempts,
    result_delivery.error_code,
    result_delivery.warning,
    result_delivery.created_at,
    result_delivery.sent_at,
    result_delivery.committed_at
FROM result_delivery
INNER JOIN model_version ON model_version.id = result_delivery.model_version_id
