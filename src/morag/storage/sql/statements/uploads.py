"""SQL of uploads; when they were made is on the steady time."""

KEEP = """
INSERT INTO uploads (id, user_id, sha256, size_bytes, filename, media_type, created_at)
VALUES (:id, :user_id, :sha256, :size_bytes, :filename, :media_type, :steady)
"""

GET = """
SELECT sha256, size_bytes, filename, media_type FROM uploads
WHERE id = :id AND user_id = :user_id AND created_at > :after
"""

FORGET = "DELETE FROM uploads WHERE created_at < :before"
