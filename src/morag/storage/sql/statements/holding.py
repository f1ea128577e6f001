"""SQL for the holder of a lease: each acts only if the fence is current, in one conditional statement.

A lease is current while the task runs, and after it expired (`lapsed`) until someone else is granted the task. A holder
that comes back gives back the loss that was charged.
"""

RENEW = """
UPDATE tasks SET lease_boot = :boot_id, lease_until = :until, lease_s = :lease_s,
    progress = coalesce(:progress, progress)
WHERE id = :id AND fence = :fence AND state = 'running'
RETURNING id
"""

RECOVER = """
UPDATE tasks SET
    state = 'running', is_ready = 0, lapsed = 0, infrastructure_losses = infrastructure_losses - 1,
    lease_boot = :boot_id, lease_until = :until, lease_s = :lease_s, progress = coalesce(:progress, progress)
WHERE id = :id AND fence = :fence AND lapsed = 1
RETURNING attempt, worker_id
"""

REOPEN_ATTEMPT = "UPDATE attempts SET ended_at = NULL, outcome = NULL WHERE task_id = :task_id AND fence = :fence"

PARK = """
UPDATE tasks SET
    state = 'waiting', is_ready = 0, infrastructure_losses = infrastructure_losses - lapsed, lapsed = 0,
    worker_id = NULL, claim_id = NULL, lease_until = NULL
WHERE id = :id AND fence = :fence AND (state = 'running' OR lapsed = 1)
RETURNING user_id
"""

FIND_STEP = "SELECT id, finished_at FROM tasks WHERE parent_id = :parent_id AND step = :step /*pg FOR UPDATE */"

EXPECT_CHILDREN = "UPDATE tasks SET open_children = :open_children WHERE id = :id"

END = """
UPDATE tasks SET
    state = :state, is_ready = 0, infrastructure_losses = infrastructure_losses - lapsed, lapsed = 0,
    finished_at = :now, finished_steady = :steady, due_at = NULL, claim_id = NULL, lease_until = NULL,
    result = :result, result_blob = :result_blob, failure = :failure, needs_attention = :needs_attention
WHERE id = :id AND fence = :fence AND (state = 'running' OR lapsed = 1)
RETURNING parent_id, open_children, user_id, webhook_url
"""

RETRY = """
UPDATE tasks SET
    state = 'pending', is_ready = :is_ready, ready_at = :ready_at,
    processing_failures = processing_failures + :processing,
    infrastructure_losses = infrastructure_losses - lapsed + :infrastructure, lapsed = 0,
    worker_id = NULL, claim_id = NULL, lease_until = NULL, failure = coalesce(:failure, failure)
WHERE id = :id AND fence = :fence AND (state = 'running' OR lapsed = 1)
RETURNING lane, namespace, user_id
"""

HASTEN = """
UPDATE tasks SET is_ready = 1, ready_at = :steady WHERE id = :id AND state = 'pending' AND is_ready = 0
RETURNING lane, namespace, user_id
"""

END_ATTEMPT = """
UPDATE attempts SET ended_at = :now, outcome = :outcome, failure = :failure, decision = :decision, digest = :digest
WHERE task_id = :task_id AND fence = :fence
"""

GET_STATE = "SELECT state FROM tasks WHERE id = :id"

GET_DIGEST = "SELECT digest FROM attempts WHERE task_id = :id AND fence = :fence"
