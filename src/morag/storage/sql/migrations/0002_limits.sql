-- What one user may use of what all share; the row of '' is for everybody who has none. NULL is no limit.

CREATE TABLE limits (
    user_id TEXT NOT NULL PRIMARY KEY,
    weight REAL NOT NULL DEFAULT 1,
    running INTEGER,
    queued INTEGER,
    stored_bytes INTEGER,
    upload_bytes INTEGER,
    requests_per_minute INTEGER
) WITHOUT ROWID;
CREATE INDEX limits_running ON limits (user_id) WHERE running IS NOT NULL;

-- What is counted, of users who have such a limit.
CREATE INDEX tasks_slots ON tasks (user_id, lapsed) WHERE state = 'running' OR lapsed = 1;
CREATE INDEX tasks_queued ON tasks (user_id) WHERE state IN ('pending', 'waiting') AND lapsed = 0 AND rank >= 32;
CREATE INDEX tasks_sources ON tasks (user_id, source_bytes) WHERE source_bytes > 0 AND finished_at IS NULL;
CREATE INDEX documents_size ON documents (user_id, size_bytes);
CREATE INDEX shares_user ON shares (user_id, lane) WHERE is_active = 1;

-- Who stands in a lane, and for what there is room below the user's limit on running tasks:
-- 3 any number, 2 any one, 1 only one whose lease expired (it has its slot already), 0 none.
CREATE VIEW turns AS
SELECT
    lane, namespace, user_id, pass, last_grant, is_active,
    coalesce((
        SELECT CASE WHEN limits.running IS NULL THEN 3 ELSE (
            SELECT CASE
                WHEN count(*) < limits.running THEN 2
                WHEN count(*) - coalesce(sum(lapsed), 0) < limits.running THEN 1
                ELSE 0
            END
            FROM tasks WHERE tasks.user_id = shares.user_id AND (state = 'running' OR lapsed = 1)
        ) END
        FROM limits WHERE limits.user_id IN (shares.user_id, '') ORDER BY limits.user_id DESC LIMIT 1
    ), 3) AS room,
    coalesce((
        SELECT weight FROM limits WHERE limits.user_id IN (shares.user_id, '') ORDER BY limits.user_id DESC LIMIT 1
    ), 1.0) AS weight
FROM shares;
