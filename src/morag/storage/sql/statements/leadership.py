"""SQL for the lead: one row, taken and renewed by one conditional statement."""

GET = "SELECT worker_id, worker_boot, worker_pid, worker_pid_started, lease_boot, lease_until FROM lead"

TAKE = """
INSERT INTO lead (one, worker_id, worker_boot, worker_pid, worker_pid_started, lease_boot, lease_until)
VALUES (1, :worker_id, :worker_boot, :worker_pid, :worker_pid_started, :boot_id, :until)
ON CONFLICT (one) DO UPDATE SET
    worker_id = excluded.worker_id, worker_boot = excluded.worker_boot, worker_pid = excluded.worker_pid,
    worker_pid_started = excluded.worker_pid_started, lease_boot = excluded.lease_boot,
    lease_until = excluded.lease_until
WHERE lead.worker_id IN (:worker_id, :gone_id) OR lead.lease_boot <> :boot_id OR lead.lease_until <= :monotonic
RETURNING worker_id
"""

RESIGN = "DELETE FROM lead WHERE worker_id = :worker_id"
