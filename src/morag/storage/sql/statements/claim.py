"""SQL that grants tasks, fairest user first. Each statement is a seek in an index, however much is queued."""

PROMOTE_DUE = """
UPDATE tasks SET is_ready = 1
WHERE id IN (
    SELECT id FROM tasks WHERE state = 'pending' AND is_ready = 0 AND ready_at <= :steady /*pg FOR UPDATE SKIP LOCKED */
)
RETURNING lane, namespace, user_id
"""

HELD_BY_CLAIM = """
SELECT id FROM tasks WHERE state = 'running' AND claim_id = :claim_id AND worker_id = :worker_id
"""

RENEW_CLAIM = """
UPDATE tasks SET lease_boot = :boot_id, lease_until = :until, lease_s = :lease_s
WHERE state = 'running' AND claim_id = :claim_id AND worker_id = :worker_id
"""

GET_FLOOR = "SELECT floor, grants FROM floors WHERE lane = :lane AND namespace = :namespace"

SET_FLOOR = """
INSERT INTO floors (lane, namespace, floor, grants) VALUES (:lane, :namespace, :floor, :grants)
ON CONFLICT (lane, namespace) DO UPDATE SET floor = excluded.floor, grants = excluded.grants
"""

NEXT_USERS = """
SELECT pass, last_grant, user_id, room, weight FROM turns
WHERE lane = :lane AND namespace = :namespace AND is_active = 1 AND room > 0
    AND (pass, last_grant, user_id) > (:pass, :last_grant, :user_id)
ORDER BY pass, last_grant, user_id LIMIT :n
"""

ROOM = "SELECT room FROM turns WHERE lane = :lane AND namespace = :namespace AND user_id = :user_id"

NEXT_KIND = """
SELECT name, content_type, rank, id FROM tasks
WHERE is_ready = 1 AND lane = :lane AND namespace = :namespace AND user_id = :user_id
    AND (name, content_type, rank) > (:name, :content_type, :last_rank)
ORDER BY name, content_type, rank, id LIMIT 1 /*pg FOR UPDATE SKIP LOCKED */
"""

NEXT_OF_KIND = """
SELECT rank, id FROM tasks
WHERE is_ready = 1 AND lane = :lane AND namespace = :namespace AND user_id = :user_id
    AND name = :name AND content_type = :content_type AND (rank, id) > (:rank, :id)
ORDER BY rank, id LIMIT :n /*pg FOR UPDATE SKIP LOCKED */
"""

FIRST_LAPSED = """
SELECT name, content_type, id FROM tasks
WHERE user_id = :user_id AND (state = 'running' OR lapsed = 1) AND lapsed = 1
    AND lane = :lane AND namespace = :namespace
ORDER BY rank, id /*pg FOR UPDATE SKIP LOCKED */
"""

CHARGE = """
UPDATE shares SET last_grant = :last_grant, pass = :pass
WHERE lane = :lane AND namespace = :namespace AND user_id = :user_id
"""

LOCK_SHARE = """
SELECT 1 FROM shares
WHERE lane = :lane AND namespace = :namespace AND user_id = :user_id /*pg FOR UPDATE SKIP LOCKED */
"""

REST_SHARE = """
UPDATE shares SET is_active = 0 WHERE lane = :lane AND namespace = :namespace AND user_id = :user_id
    AND NOT EXISTS (
        SELECT 1 FROM tasks
        WHERE is_ready = 1 AND lane = :lane AND namespace = :namespace AND user_id = :user_id
    )
"""

GRANT = """
UPDATE tasks SET
    state = 'running', is_ready = 0, lapsed = 0, fence = fence + 1, attempt = attempt + 1,
    due_at = CASE WHEN started_at IS NULL THEN :steady + deadline_s ELSE due_at END,
    started_at = coalesce(started_at, :now),
    claim_id = :claim_id, worker_id = :worker_id, worker_boot = :worker_boot, worker_pid = :worker_pid,
    worker_pid_started = :worker_pid_started, lease_s = :lease_s, lease_boot = :boot_id, lease_until = :until
WHERE id IN (SELECT value FROM json_each(:ids)) AND is_ready = 1
"""

INSERT_ATTEMPTS = """
INSERT INTO attempts (task_id, n, fence, worker_id, lane, started_at)
SELECT id, attempt, fence, worker_id, lane, :now FROM tasks WHERE id IN (SELECT value FROM json_each(:ids))
"""

GRANTED = "SELECT * FROM records WHERE id IN (SELECT value FROM json_each(:ids))"
