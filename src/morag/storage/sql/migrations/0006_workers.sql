-- Machines of users that run tasks for their owner. Lists and what a machine says of itself are JSON, times seconds since the epoch.

CREATE TABLE workers (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    machine TEXT NOT NULL,
    generation INTEGER NOT NULL,
    readiness TEXT NOT NULL CHECK (readiness IN ('active', 'paused', 'draining')),
    registered_at REAL NOT NULL,
    seen_at REAL NOT NULL,
    load TEXT NOT NULL,
    held INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE UNIQUE INDEX workers_instance ON workers (user_id, instance_id);
