"""From stored documents and search hits to what callers are shown. Pure."""

from dataclasses import asdict

from morag.api.answers import rfc3339
from morag.api.schemas.library import DocumentShown, HitShown
from morag.domain.content import StoredDocument
from morag.pipeline.search import Hit


def document(stored: StoredDocument) -> DocumentShown:
    """A stored document."""
    publication = stored.publication
    return DocumentShown(
        document_id=publication.document_id,
        title=publication.title,
        source=publication.source,
        content_type=publication.content_type,
        media_type=publication.media_type,
        content_hash=publication.content_hash,
        size_bytes=publication.size_bytes,
        chunks=publication.chunks,
        metadata=publication.metadata,
        created_at=rfc3339(stored.created_at),
        updated_at=rfc3339(stored.updated_at),
    )


def hit(found: Hit) -> HitShown:
    """A piece of a document that fits."""
    return HitShown.model_validate({**asdict(found), "heading_path": found.heading_path or None})
