-- v1_turnaround_by_priority: one row for each priority, over all studies that are done. Percentiles by
-- nearest rank: the smallest time that at least so many percent of the studies did not exceed.
--
-- priority                as asked: stat, routine
-- studies                 studies done
-- waiting_p50_seconds     complete until first claimed: median
-- waiting_p95_seconds     the same, 95th percentile
-- waiting_max_seconds     the same, longest
-- turnaround_p50_seconds  received until finished: median
-- turnaround_p95_seconds  the same, 95th percentile
-- turnaround_max_seconds  the same, longest
CREATE VIEW v1_turnaround_by_priority AS
SELECT
    ranked.priority,
    COUNT(*) AS studies,
    MIN(CASE WHEN 100 * waiting_rank >= 50 * studies THEN waiting_seconds END)
        AS waiting_p50_seconds,
    MIN(CASE WHEN 100 * waiting_rank >= 95 * studies THEN waiting_seconds END)
        AS waiting_p95_seconds,
    MAX(waiting_seconds) AS waiting_max_seconds,
    MIN(CASE WHEN 100 * turnaround_rank >= 50 * studies THEN turnaround_seconds END)
        AS turnaround_p50_seconds,
    MIN(CASE WHEN 100 * turnaround_rank >= 95 * studies THEN turnaround_seconds END)
        AS turnaround_p95_seconds,
    MAX(turnaround_seconds) AS turnaround_max_seconds
FROM (
    SELECT
        study.priority,
        study.waiting_seconds,
        study.turnaround_seconds,
        COUNT(*) OVER (PARTITION BY study.priority) AS studies,
        ROW_NUMBER() OVER (PARTITION BY study.priority ORDER BY study.waiting_seconds)
            AS waiting_rank,
        ROW_NUMBER() OVER (PARTITION BY study.priority ORDER BY study.turnaround_seconds)
            AS turnaround_rank
    FROM study
    WHERE study.state = 'done'
) AS ranked
GROUP BY ranked.priority
