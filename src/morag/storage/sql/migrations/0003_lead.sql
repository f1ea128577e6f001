-- Who does the supervisor's work for all processes on this store; at most one row.

CREATE TABLE lead (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    worker_id TEXT NOT NULL,
    worker_boot TEXT NOT NULL,
    worker_pid INTEGER,
    worker_pid_started REAL,
    lease_boot TEXT NOT NULL,
    lease_until REAL NOT NULL
);
