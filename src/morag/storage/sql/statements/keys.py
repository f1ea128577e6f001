"""SQL of the API keys; columns come in the order of the table."""

ADD = """
INSERT INTO api_keys (id, user_id, description, scopes, digest, created_at, expires_at, revoked_at, last_used_at)
VALUES (:id, :user_id, :description, :scopes, :digest, :created_at, :expires_at, :revoked_at, :last_used_at)
"""

GET = "SELECT * FROM api_keys WHERE id = :id"

OF_ALL = "SELECT * FROM api_keys ORDER BY created_at DESC, id"

OF_USER = "SELECT * FROM api_keys WHERE user_id = :user_id ORDER BY created_at DESC, id"

REVOKE = "UPDATE api_keys SET revoked_at = :at WHERE id = :id AND revoked_at IS NULL"

EXPIRE = """
UPDATE api_keys SET expires_at = CASE WHEN expires_at < :expires_at THEN expires_at ELSE :expires_at END
WHERE id = :id AND revoked_at IS NULL
"""

TOUCH = """
UPDATE api_keys SET last_used_at = :at WHERE id = :id AND (last_used_at IS NULL OR last_used_at < :at)
"""

ANY = "SELECT 1 FROM api_keys LIMIT 1"
