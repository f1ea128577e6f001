-- API keys: never the key, only the SHA-256 of its secret. Times are seconds since the epoch, scopes a JSON list.

CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL,
    description TEXT NOT NULL,
    scopes TEXT NOT NULL,
    digest TEXT NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL,
    revoked_at REAL,
    last_used_at REAL
) WITHOUT ROWID;
CREATE INDEX api_keys_user ON api_keys (user_id, created_at);
