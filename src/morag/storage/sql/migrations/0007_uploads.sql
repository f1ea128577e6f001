-- Files a user handed in for a task that is yet to be asked for; the blob sweep leaves their content alone while they are here.

CREATE TABLE uploads (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    filename TEXT NOT NULL,
    media_type TEXT,
    created_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX uploads_blob ON uploads (sha256);
CREATE INDEX uploads_age ON uploads (created_at);
