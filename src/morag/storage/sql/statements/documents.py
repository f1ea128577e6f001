"""SQL of the documents that search sees, and of the few facts about the store itself."""

PUBLISH = """
INSERT INTO documents (
    user_id, document_id, title, source, content_type, media_type, content_hash, options_digest, metadata, chunks,
    size_bytes, document_blob, original_blob, chunking, task_id, fence, created_at, updated_at
) VALUES (
    :user_id, :document_id, :title, :source, :content_type, :media_type, :content_hash, :options_digest, :metadata,
    :chunks, :size_bytes, :document_blob, :original_blob, :chunking, :task_id, :fence, :now, :now
)
ON CONFLICT (user_id, document_id) DO UPDATE SET
    title = excluded.title, source = excluded.source, content_type = excluded.content_type,
    media_type = excluded.media_type, content_hash = excluded.content_hash, options_digest = excluded.options_digest,
    metadata = excluded.metadata, chunks = excluded.chunks,
    size_bytes = excluded.size_bytes,
    document_blob = excluded.document_blob, original_blob = excluded.original_blob, chunking = excluded.chunking,
    task_id = excluded.task_id,
    fence = excluded.fence, updated_at = excluded.updated_at
WHERE documents.task_id <= excluded.task_id
"""

GET = "SELECT * FROM document_records WHERE user_id = :user_id AND document_id = :document_id"

AMONG = """
SELECT * FROM document_records WHERE user_id = :user_id AND document_id IN (SELECT value FROM json_each(:document_ids))
"""

PAGE = """
SELECT * FROM document_records WHERE user_id = :user_id AND document_id > :after ORDER BY document_id LIMIT :limit
"""

EVERY_PAGE = """
SELECT * FROM document_records WHERE (user_id, document_id) > (:user_id, :document_id)
ORDER BY user_id, document_id LIMIT :limit
"""

RECOGNISE = """
SELECT document_id FROM documents
WHERE user_id = :user_id AND content_hash = :content_hash AND options_digest = :options_digest
ORDER BY updated_at DESC, document_id LIMIT 1
"""

REMOVE = "DELETE FROM documents WHERE user_id = :user_id AND document_id = :document_id"

GET_META = "SELECT value FROM meta WHERE key = :key"

SET_META = """
INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value
"""

KEEP_META = "INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO NOTHING"
