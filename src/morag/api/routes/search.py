"""Ask your own documents."""

from time import perf_counter

from fastapi import APIRouter

from morag.api import shelf
from morag.api.access import Submitter
from morag.api.dependencies import CurrentSystem
from morag.api.schemas.library import SearchAnswer, SearchQuery
from morag.pipeline.ports import Filters

router = APIRouter(tags=["search"])


@router.post("/search", response_model_exclude_none=True)
@router.post("/api/v1/search", response_model_exclude_none=True)
async def search(body: SearchQuery, caller: Submitter, system: CurrentSystem) -> SearchAnswer:
    """The pieces of your documents that fit best, and where they came from."""
    began = perf_counter()
    asked = body.filters
    filters = Filters(document_id=asked.document_id, content_type=asked.content_type, metadata=asked.metadata)
    hits = await system.searcher.search(caller.user_id, body.query, limit=body.limit, mode=body.mode, filters=filters)
    return SearchAnswer(hits=[shelf.hit(hit) for hit in hits], took_ms=round((perf_counter() - began) * 1000, 3))
