"""SQL that only looks. `records` is the view of the public columns, in the order `records.task` reads them."""

GET = "SELECT * FROM records WHERE id = :id"

ENDED = "SELECT * FROM records WHERE id IN (SELECT value FROM json_each(:ids)) AND finished_at IS NOT NULL"

GET_OF_USER = "SELECT * FROM records WHERE id = :id AND user_id = :user_id"

FIND = """
SELECT * FROM records
WHERE id IN (
    SELECT id FROM tasks
    WHERE parent_id IS NULL AND user_id = :user_id AND id < :before
        AND (CAST(:states AS TEXT) IS NULL OR state IN (SELECT value FROM json_each(:states)))
        AND (CAST(:name AS TEXT) IS NULL OR name = :name)
    ORDER BY id DESC LIMIT :limit
)
ORDER BY id DESC
"""

CHILDREN = "SELECT * FROM records WHERE parent_id = :id"

ATTEMPTS = """
SELECT n, fence, worker_id, lane, started_at, ended_at, outcome, failure, decision FROM attempts
WHERE task_id = :id ORDER BY n
"""

EVENTS = "SELECT seq, at, kind, data FROM events WHERE task_id = :id AND seq > :after ORDER BY seq LIMIT :limit"

HELD = """
SELECT id, fence FROM tasks WHERE state = 'running' AND worker_id = :worker_id AND claim_id <> :but ORDER BY id
"""

POSITION = """
SELECT (
    SELECT count(*) FROM tasks AS other
    WHERE other.is_ready = 1 AND other.lane = mine.lane AND other.namespace = mine.namespace
        AND other.user_id = mine.user_id AND (other.rank, other.id) < (mine.rank, mine.id)
)
FROM tasks AS mine WHERE mine.id = :id AND mine.state = 'pending'
"""

READY_NAMES = "SELECT DISTINCT name FROM tasks WHERE is_ready = 1 AND lane = :lane AND namespace = :namespace"

# CROSS JOIN: from the users to their tasks, each a seek, however much of other names is queued
READY = """
SELECT tasks.id, tasks.attempt FROM turns CROSS JOIN tasks
WHERE turns.lane = :lane AND turns.namespace = :namespace AND turns.is_active = 1
    AND tasks.is_ready = 1 AND tasks.lane = turns.lane AND tasks.namespace = turns.namespace
    AND tasks.user_id = turns.user_id AND tasks.name = :name
    AND (turns.room >= 2 OR (turns.room = 1 AND tasks.lapsed = 1))
    AND (CAST(:types AS TEXT) IS NULL OR tasks.content_type IN (SELECT value FROM json_each(:types)))
LIMIT :limit
"""

READY_BY_LANE = """
SELECT lane, count(*), min(ready_at) FROM tasks
WHERE is_ready = 1 AND user_id = coalesce(:user_id, user_id) GROUP BY lane
"""

DELAYED_BY_LANE = """
SELECT lane, count(*) FROM tasks
WHERE state = 'pending' AND is_ready = 0 AND user_id = coalesce(:user_id, user_id) GROUP BY lane
"""

RUNNING_BY_LANE = """
SELECT lane, count(*) FROM tasks WHERE state = 'running' AND user_id = coalesce(:user_id, user_id) GROUP BY lane
"""

LAPSED_BY_LANE = """
SELECT lane, count(*) FROM tasks WHERE lapsed = 1 AND user_id = coalesce(:user_id, user_id) GROUP BY lane
"""

REFERENCED = """
SELECT value FROM json_each(:blobs)
WHERE (SELECT 1 FROM task_blobs WHERE sha256 = value LIMIT 1) IS NOT NULL
    OR (SELECT 1 FROM documents WHERE document_blob = value LIMIT 1) IS NOT NULL
    OR (SELECT 1 FROM documents WHERE original_blob = value LIMIT 1) IS NOT NULL
    OR (SELECT 1 FROM uploads WHERE sha256 = value LIMIT 1) IS NOT NULL
"""
