-- Who is told when a task ends: the URL at the task, one delivery an event, the secret of each user (bytes, never shown as text here).

ALTER TABLE tasks ADD COLUMN webhook_url TEXT;

CREATE TABLE deliveries (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    event TEXT NOT NULL,
    url TEXT NOT NULL,
    created_at REAL NOT NULL,
    due_at REAL,
    tries INTEGER NOT NULL DEFAULT 0,
    status INTEGER,
    error TEXT,
    delivered_at REAL
) WITHOUT ROWID;
CREATE INDEX deliveries_due ON deliveries (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_user ON deliveries (user_id, id);
CREATE INDEX deliveries_ended ON deliveries (created_at) WHERE due_at IS NULL;

CREATE TABLE webhook_secrets (
    user_id TEXT NOT NULL PRIMARY KEY,
    current BLOB NOT NULL,
    previous BLOB,
    rotated_at REAL NOT NULL
) WITHOUT ROWID;
