"""Your stored documents."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from morag.api import cursors, shelf
from morag.api.access import Submitter
from morag.api.dependencies import CurrentSystem
from morag.api.schemas.library import DocumentPage, DocumentShown

router = APIRouter(prefix="/api/v1/documents", tags=["documents"])


@router.get("")
@router.get("/", include_in_schema=False)
async def list_documents(
    caller: Submitter,
    system: CurrentSystem,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=400)] = None,
) -> DocumentPage:
    """Your documents, by id."""
    found = await system.library.page(caller.user_id, limit=limit, after=cursors.decode(cursor))
    more = cursors.encode(found[-1].publication.document_id) if len(found) == limit else None
    return DocumentPage(documents=[shelf.document(each) for each in found], next_cursor=more)


@router.get("/{document_id}")
async def get_document(document_id: str, caller: Submitter, system: CurrentSystem) -> DocumentShown:
    """One document."""
    return shelf.document(await system.library.get(caller.user_id, document_id))


@router.get(
    "/{document_id}/markdown",
    response_class=Response,
    responses={200: {"content": {"text/markdown": {"schema": {"type": "string"}}}, "description": "Its Markdown."}},
)
async def get_markdown(document_id: str, caller: Submitter, system: CurrentSystem) -> Response:
    """What the document was converted to."""
    document = await system.library.read(caller.user_id, document_id)
    return Response(document.markdown, media_type="text/markdown")


@router.delete("/{document_id}", status_code=204)
async def delete_document(document_id: str, caller: Submitter, system: CurrentSystem) -> None:
    """Make a document disappear from search at once."""
    await system.library.delete(caller.user_id, document_id)
