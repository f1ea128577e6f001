"""SQL that ends or frees tasks without their holder: cancel, deadlines, expiry; and what follows for the tree."""

CLOSE = """
UPDATE tasks SET
    state = :state, fence = fence + CASE WHEN state = 'running' OR lapsed = 1 THEN 1 ELSE 0 END,
    is_ready = 0, lapsed = 0, finished_at = :now, finished_steady = :steady, due_at = NULL, claim_id = NULL,
    lease_until = NULL, failure = :failure
WHERE id = :id AND finished_at IS NULL
RETURNING parent_id, open_children, user_id, webhook_url, worker_id IS NOT NULL
"""

CLOSE_ATTEMPT = """
UPDATE attempts SET ended_at = :now, outcome = :outcome, failure = :failure WHERE task_id = :id AND ended_at IS NULL
"""

OPEN_DESCENDANTS = """
WITH RECURSIVE tree (id) AS (
    SELECT id FROM tasks WHERE parent_id = :id
    UNION ALL SELECT tasks.id FROM tasks JOIN tree ON tasks.parent_id = tree.id
)
SELECT id FROM tree
WHERE EXISTS (SELECT 1 FROM tasks WHERE tasks.id = tree.id AND tasks.finished_at IS NULL)
"""

CHILD_ENDED = """
UPDATE tasks SET open_children = open_children - 1 WHERE id = :id AND open_children > 0 RETURNING open_children
"""

RESUME = """
UPDATE tasks SET state = 'pending', is_ready = 1, open_children = 0, ready_at = :steady, rank = rank % 16
WHERE id = :id AND state = 'waiting'
RETURNING lane, namespace, user_id
"""

LAPSE = """
UPDATE tasks SET state = 'pending', is_ready = 1, lapsed = 1, infrastructure_losses = infrastructure_losses + 1
WHERE id = :id AND fence = :fence AND state = 'running'
    AND (:is_gone = 1 OR lease_boot <> :boot_id OR lease_until <= :monotonic)
RETURNING lane, namespace, user_id, worker_id, infrastructure_losses > infrastructure_budget
"""

FREE = """
UPDATE tasks SET
    state = 'pending', is_ready = 1, ready_at = :steady, worker_id = NULL, claim_id = NULL, lease_until = NULL
WHERE id = :id AND fence = :fence AND state = 'running'
RETURNING lane, namespace, user_id
"""

REBASE_REMOTE = """
UPDATE tasks SET lease_boot = :boot_id, lease_until = :monotonic + lease_s
WHERE state = 'running' AND worker_pid IS NULL
"""

RUNNING = """
SELECT id, fence, worker_id, worker_boot, worker_pid, worker_pid_started,
    lease_boot <> :boot_id OR lease_until <= :monotonic
FROM tasks WHERE state = 'running'
"""

UNDER_WAY = """
SELECT id FROM tasks
WHERE user_id = :user_id AND reserved_document_id = :document_id AND finished_at IS NULL
ORDER BY id
"""

OVERDUE = "SELECT id FROM tasks WHERE due_at IS NOT NULL AND due_at <= :steady ORDER BY due_at, id LIMIT :limit"

FORGOTTEN = """
SELECT id FROM tasks AS parent
WHERE state = 'waiting' AND NOT EXISTS (
    SELECT 1 FROM tasks AS child WHERE child.parent_id = parent.id AND child.finished_at IS NULL
)
"""

IS_OVERDUE = "SELECT 1 FROM tasks WHERE id = :id AND due_at <= :steady /*pg FOR UPDATE */"

IS_FORGOTTEN = """
SELECT 1 FROM tasks AS parent
WHERE id = :id AND state = 'waiting' AND NOT EXISTS (
    SELECT 1 FROM tasks AS child WHERE child.parent_id = parent.id AND child.finished_at IS NULL
)
"""

IS_TIMER_DUE = "SELECT 1 FROM tasks WHERE state = 'pending' AND is_ready = 0 AND ready_at <= :steady LIMIT 1"
