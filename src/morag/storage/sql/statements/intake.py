"""SQL that makes tasks and takes them out again."""

INSERT_TASK = """
INSERT INTO tasks (
    id, namespace, name, user_id, lane, content_type, state, args, options, routing, priority, rank,
    processing_budget, infrastructure_budget, deadline_s, waiting_s, timeout_s, parent_id, step, retry_of, batch_id,
    idempotency_key, idempotency_digest, reserved_document_id, source_bytes, webhook_url, created_at, ready_at, due_at,
    finished_at, is_ready, result, created_steady, finished_steady
) VALUES (
    :id, :namespace, :name, :user_id, :lane, :content_type, :state, :args, :options, :routing, :priority, :rank,
    :processing_budget, :infrastructure_budget, :deadline_s, :waiting_s, :timeout_s, :parent_id, :step, :retry_of,
    :batch_id, :idempotency_key, :idempotency_digest, :reserved_document_id, :source_bytes, :webhook_url,
    :created_at, :ready_at, :due_at, :finished_at, :is_ready, :result,
    :created_steady, :finished_steady
)
"""

INSERT_BLOB = "INSERT INTO task_blobs (task_id, sha256) VALUES (:task_id, :sha256) ON CONFLICT DO NOTHING"

FIND_KEY = """
SELECT id, idempotency_digest FROM tasks
WHERE user_id = :user_id AND idempotency_key = :key AND created_steady > :since
ORDER BY created_steady DESC, id DESC LIMIT 1
"""

IS_DOCUMENT_TAKEN = """
SELECT 1 WHERE EXISTS (SELECT 1 FROM documents WHERE user_id = :user_id AND document_id = :document_id)
OR EXISTS (
    SELECT 1 FROM tasks
    WHERE user_id = :user_id AND reserved_document_id = :document_id AND finished_at IS NULL
)
"""

HOLD_SHARE = """
SELECT is_active FROM shares
WHERE lane = :lane AND namespace = :namespace AND user_id = :user_id /*pg FOR KEY SHARE */
"""

ACTIVATE_SHARE = """
INSERT INTO shares (lane, namespace, user_id) VALUES (:lane, :namespace, :user_id)
ON CONFLICT (lane, namespace, user_id) DO UPDATE SET is_active = 1 WHERE shares.is_active = 0
"""

APPEND_EVENTS = """
INSERT INTO events (task_id, seq, at, kind, data)
SELECT line ->> 0,
    coalesce((SELECT max(seq) FROM events WHERE task_id = line ->> 0), 0) + 1 + CAST(line ->> 1 AS BIGINT),
    CAST(line ->> 2 AS DOUBLE PRECISION), line ->> 3, line ->> 4
FROM (SELECT value /*pg ::jsonb */ AS line FROM json_each(:lines)) AS told
"""

FIND_RETIRED = """
SELECT id FROM tasks WHERE parent_id IS NULL AND finished_steady IS NOT NULL AND finished_steady < :before
ORDER BY finished_steady LIMIT :limit /*pg FOR UPDATE SKIP LOCKED */
"""

TREE = """
WITH RECURSIVE tree (id) AS (
    SELECT id FROM tasks WHERE id = :id
    UNION ALL SELECT tasks.id FROM tasks JOIN tree ON tasks.parent_id = tree.id
)
SELECT id FROM tree
"""

DELETE_TASK = "DELETE FROM tasks WHERE id = :id"
DELETE_ATTEMPTS = "DELETE FROM attempts WHERE task_id = :id"
DELETE_EVENTS = "DELETE FROM events WHERE task_id = :id"
DELETE_BLOBS = "DELETE FROM task_blobs WHERE task_id = :id"
