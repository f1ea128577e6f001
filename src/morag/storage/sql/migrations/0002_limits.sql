-- What one user may use of what all share; the row of '' is for everybody who has none. NULL is no limit.

CREATE TABLE limits (
    user_id TEXT NOT NULL PRIMARY KEY,
    weight REAL NOT NULL DEFAULT 1,
    running INTEGER,
    queued INTEGER,
    stored_bytes INTEGER
) WITHOUT ROWID;
