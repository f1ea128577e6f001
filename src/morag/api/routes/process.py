"""Convert now, store nothing."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from morag.api import conversions, uploads
from morag.api.access import Submitter
from morag.api.conversions import Asked
from morag.api.dependencies import CurrentSystem, IdempotencyKey, MaxUploadBytes
from morag.api.description import form_body
from morag.api.schemas.conversions import Accepted, BatchResult, ConversionResult
from morag.api.schemas.submissions import Conversion, ConversionBatch, UrlConversion
from morag.api.submissions import fields_of, from_file, from_url
from morag.api.waiting import preferred_wait_s
from morag.domain.content import ContentType

router = APIRouter(prefix="/process", tags=["process"])

Prefer = Annotated[str | None, Header(description="`wait=N`: seconds to wait before 202; 300 if absent.")]

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": ConversionResult, "content": {"text/markdown": {}}, "description": "It is done."},
    202: {"model": Accepted, "description": "It goes on; `Location` says where to follow it."},
}


@router.post("/file", responses=_ANSWERS, openapi_extra=form_body(Conversion))
async def process_file(
    request: Request,
    caller: Submitter,
    system: CurrentSystem,
    key: IdempotencyKey,
    max_bytes: MaxUploadBytes,
    prefer: Prefer = None,
) -> Response:
    """Convert an uploaded file."""
    form = await uploads.receive_form(request, system.blobs, max_bytes=max_bytes)
    asked = await from_file(system, form.file, fields_of(form, Conversion), key)
    return await conversions.answer(Asked(request, system, caller.user_id, preferred_wait_s(prefer), key), asked)


@router.post("/url", responses=_ANSWERS)
async def process_url(
    request: Request,
    body: UrlConversion,
    caller: Submitter,
    system: CurrentSystem,
    key: IdempotencyKey,
    prefer: Prefer = None,
) -> Response:
    """Convert what a URL leads to."""
    asked = from_url(system, body.url, body, key)
    return await conversions.answer(Asked(request, system, caller.user_id, preferred_wait_s(prefer), key), asked)


@router.post("/web", responses=_ANSWERS)
async def process_web(
    request: Request,
    body: UrlConversion,
    caller: Submitter,
    system: CurrentSystem,
    key: IdempotencyKey,
    prefer: Prefer = None,
) -> Response:
    """Convert a web page."""
    asked = from_url(system, body.url, body, key, source_type=ContentType.WEB)
    return await conversions.answer(Asked(request, system, caller.user_id, preferred_wait_s(prefer), key), asked)


@router.post("/youtube", responses=_ANSWERS)
async def process_youtube(
    request: Request,
    body: UrlConversion,
    caller: Submitter,
    system: CurrentSystem,
    key: IdempotencyKey,
    prefer: Prefer = None,
) -> Response:
    """Convert a YouTube video, from its captions or its sound."""
    asked = from_url(system, body.url, body, key, source_type=ContentType.YOUTUBE)
    return await conversions.answer(Asked(request, system, caller.user_id, preferred_wait_s(prefer), key), asked)


@router.post(
    "/batch",
    responses={
        200: {"model": BatchResult, "description": "All items have ended."},
        202: {"model": BatchResult, "description": "Some go on; each says its task."},
    },
)
async def process_batch(
    request: Request,
    body: ConversionBatch,
    caller: Submitter,
    system: CurrentSystem,
    key: IdempotencyKey,
    prefer: Prefer = None,
) -> Response:
    """Convert several URLs; the results come in the order of the items, each with its own success or error."""
    return await conversions.answer_batch(
        Asked(request, system, caller.user_id, preferred_wait_s(prefer), key), body.items
    )
