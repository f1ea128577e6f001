"""SQL of what users may use and do use. The row of '' is for everybody without one of their own, and sorts first."""

SET = """
INSERT INTO limits (user_id, weight, running, queued, stored_bytes, upload_bytes, requests_per_minute)
VALUES (:user_id, :weight, :running, :queued, :stored_bytes, :upload_bytes, :requests_per_minute)
ON CONFLICT (user_id) DO UPDATE SET
    weight = excluded.weight, running = excluded.running, queued = excluded.queued,
    stored_bytes = excluded.stored_bytes, upload_bytes = excluded.upload_bytes,
    requests_per_minute = excluded.requests_per_minute
"""

UNSET = "DELETE FROM limits WHERE user_id = :user_id"

GET = """
SELECT weight, running, queued, stored_bytes, upload_bytes, requests_per_minute FROM limits
WHERE user_id IN (:user_id, '') ORDER BY user_id DESC LIMIT 1
"""

IS_ANY_CAPPED = "SELECT 1 FROM limits WHERE running IS NOT NULL LIMIT 1"

USERS = """
SELECT user_id FROM limits WHERE user_id <> ''
UNION SELECT user_id FROM shares UNION SELECT user_id FROM documents ORDER BY user_id
"""

LANES_OF_CAPPED = """
SELECT lane FROM shares
WHERE user_id = :user_id AND is_active = 1 AND (
    SELECT running FROM limits WHERE user_id IN (:user_id, '') ORDER BY user_id DESC LIMIT 1
) IS NOT NULL
"""

LANES = "SELECT DISTINCT lane FROM shares WHERE is_active = 1 AND user_id = coalesce(:user_id, user_id)"

RUNNING = "SELECT count(*) FROM tasks WHERE user_id = :user_id AND (state = 'running' OR lapsed = 1)"

QUEUED = """
SELECT count(*) FROM (
    SELECT 1 FROM tasks WHERE user_id = :user_id AND state IN ('pending', 'waiting') AND lapsed = 0 AND rank >= 32
    LIMIT :most
) AS standing
"""

STORED = "SELECT count(*), coalesce(sum(size_bytes), 0) FROM documents WHERE user_id = :user_id"

SOURCES = """
SELECT coalesce(sum(source_bytes), 0) FROM tasks
WHERE user_id = :user_id AND source_bytes > 0 AND finished_at IS NULL
"""
