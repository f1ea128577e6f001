"""SQL of deliveries (`due_at` is on the steady time) and of the secrets that sign them."""

ENQUEUE = """
INSERT INTO deliveries (id, user_id, task_id, event, url, created_at, due_at)
VALUES (:id, :user_id, :task_id, :event, :url, :now, :steady)
ON CONFLICT (id) DO NOTHING
"""

TAKE = """
UPDATE deliveries SET due_at = :until
WHERE id IN (
    SELECT id FROM deliveries
    WHERE due_at <= :steady AND user_id NOT IN (SELECT value FROM json_each(:busy))
    ORDER BY due_at LIMIT :limit /*pg FOR UPDATE SKIP LOCKED */
)
RETURNING id, user_id, task_id, event, url, created_at, due_at, tries, status, error, delivered_at
"""

IS_DUE = "SELECT 1 FROM deliveries WHERE due_at <= :steady LIMIT 1"

NOTE = """
UPDATE deliveries SET due_at = :due_at, tries = :tries, status = :status, error = :error, delivered_at = :delivered_at
WHERE id = :id
"""

OF_USER = """
SELECT id, user_id, task_id, event, url, created_at, due_at, tries, status, error, delivered_at FROM deliveries
WHERE user_id = :user_id AND id < :before
ORDER BY id DESC LIMIT :limit
"""

FORGET = "DELETE FROM deliveries WHERE due_at IS NULL AND created_at < :before"

GET_SIGNING = "SELECT current, previous, rotated_at FROM webhook_secrets WHERE user_id = :user_id"

INSERT_SIGNING = """
INSERT INTO webhook_secrets (user_id, current, rotated_at) VALUES (:user_id, :fresh, :now)
ON CONFLICT (user_id) DO NOTHING
"""

ROTATE = """
INSERT INTO webhook_secrets (user_id, current, rotated_at) VALUES (:user_id, :fresh, :now)
ON CONFLICT (user_id) DO UPDATE SET previous = webhook_secrets.current, current = excluded.current, rotated_at = :now
"""
