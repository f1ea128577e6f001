"""One grant at a user's machine: its source, its result in one piece or many, its end."""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from morag.api.access import Machine
from morag.api.dependencies import CurrentSystem
from morag.bootstrap.system import System
from morag.control.fleet.gateway import refused
from morag.control.ports import CHECKSUMS, Piece
from morag.domain.content import Document
from morag.domain.errors import InvalidRequest, NotFound, OffsetDiffers
from morag.domain.failure import Failure, FailureType
from morag.domain.json import JsonObject
from morag.domain.task import Answer, Task
from morag.pipeline.conversion.result import pack
from morag.pipeline.handlers import source_of
from morag.protocol import (
    MAX_DOCUMENT_BYTES,
    Committed,
    CompleteAttempt,
    FailAttempt,
    FailureDecided,
    ReleaseAttempt,
    Released,
    decode_document,
)

router = APIRouter(prefix="/api/v1/attempts", tags=["workers"])

TUS = {"Tus-Resumable": "1.0.0", "Cache-Control": "no-store"}
OFFSET_TYPE = "application/offset+octet-stream"
SILENCE_S = 15.0
"""A piece may not be silent for longer on its way."""
CHECKSUM_MISMATCH = 460
"""As the checksum extension of tus 1.0 has it."""

Offset = Annotated[int, Header(alias="Upload-Offset", ge=0)]
Length = Annotated[int, Header(alias="Upload-Length", ge=1, le=MAX_DOCUMENT_BYTES)]


class SourceResponse(FileResponse):
    """A file in blocks that are worth the trip to a thread that each of them takes."""

    chunk_size = 256 * 1024


@router.get(
    "/{attempt_id}/source",
    response_class=SourceResponse,
    responses={200: {"content": {"application/octet-stream": {}}, "description": "The bytes; `Range` resumes."}},
)
async def get_source(attempt_id: str, caller: Machine, system: CurrentSystem) -> SourceResponse:
    """What is to be converted. `ETag` is its SHA-256; `Range` with `If-Range` goes on where a download was cut."""
    task, _ = await system.gateway.attempt(caller.user_id, attempt_id)
    given = task.args.get("source")
    if not isinstance(given, dict):
        raise NotFound("This task has no source file.", hint="Its lease names a url.")
    sha256 = source_of(given).sha256
    headers = {"ETag": f'"{sha256}"', "Cache-Control": "no-store"}
    return SourceResponse(system.blobs.path(sha256), media_type="application/octet-stream", headers=headers)


@router.post("/{attempt_id}/uploads", status_code=201, response_class=Response)
async def create_upload(attempt_id: str, caller: Machine, system: CurrentSystem, upload_length: Length) -> Response:
    """Begin to upload a result (tus 1.0): `Location` is where the pieces go."""
    await system.gateway.attempt(caller.user_id, attempt_id)
    system.blobs.check_room()
    upload_id = await system.partial_uploads.create(attempt_id, upload_length)
    place = f"/api/v1/attempts/{attempt_id}/uploads/{upload_id}"
    return Response(status_code=201, headers={**TUS, "Location": place, "Upload-Offset": "0", "Upload-Id": upload_id})


@router.head("/{attempt_id}/uploads/{upload_id}", response_class=Response)
async def upload_offset(attempt_id: str, upload_id: str, caller: Machine, system: CurrentSystem) -> Response:
    """How much of it is there."""
    await system.gateway.attempt(caller.user_id, attempt_id)
    offset, length = await system.partial_uploads.progress(attempt_id, upload_id)
    return Response(headers={**TUS, "Upload-Offset": str(offset), "Upload-Length": str(length)})


@router.patch("/{attempt_id}/uploads/{upload_id}", status_code=204, response_class=Response)
async def upload_piece(
    attempt_id: str,
    upload_id: str,
    request: Request,
    caller: Machine,
    system: CurrentSystem,
    upload_offset: Offset,
    upload_checksum: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Add a piece; 409 tells the true offset, 460 that the bytes were damaged on the way."""
    if request.headers.get("content-type", "").lower() != OFFSET_TYPE:
        raise HTTPException(415, f"A piece is sent as {OFFSET_TYPE}.")
    await system.gateway.attempt(caller.user_id, attempt_id)
    piece = Piece(offset=upload_offset, checksum=_checksum(upload_checksum))
    try:
        offset = await system.partial_uploads.append(attempt_id, upload_id, piece, _lively(request.stream()))
    except OffsetDiffers as error:
        raise HTTPException(409, error.message, {**TUS, "Upload-Offset": str(error.offset)}) from None
    return Response(status_code=204, headers={**TUS, "Upload-Offset": str(offset)})


@router.post("/{attempt_id}/complete")
async def complete_attempt(attempt_id: str, body: CompleteAttempt, caller: Machine, system: CurrentSystem) -> Committed:
    """Deliver the document. 409 the task was granted to another, 410 it was cancelled, 412 the digest differs."""
    task, fence = await _held(system, caller.user_id, attempt_id, body.fence)
    try:
        document = await _document(system, attempt_id, body)
    except NotFound:  # its upload is dropped once it is committed, and the answer may have got lost
        if await system.gateway.is_committed(task, fence):
            return Committed(status="duplicate")
        raise
    answer = await system.gateway.complete(task, fence, await pack(document, _about(task, body), system.blobs))
    await system.partial_uploads.drop(attempt_id)
    if answer in {Answer.OK, Answer.DUPLICATE}:
        return Committed(status="committed" if answer is Answer.OK else "duplicate")
    raise refused(answer)


@router.post("/{attempt_id}/fail")
async def fail_attempt(attempt_id: str, body: FailAttempt, caller: Machine, system: CurrentSystem) -> FailureDecided:
    """Tell that it did not work, and hear what is done about it."""
    task, fence = await _held(system, caller.user_id, attempt_id, body.fence)
    known = body.failure_type in set(FailureType)
    failure = Failure(
        type=FailureType(body.failure_type) if known else FailureType.PROCESSING_ERROR,
        code=body.code,
        message=body.message or "The worker said that it failed, and not why.",
        hint=body.hint,
        is_final=body.is_final,
        signature=body.signature,
        stage=body.stage,
    )
    answer, decision = await system.gateway.fail(task, fence, failure)
    if decision is None:
        raise refused(answer)
    return FailureDecided(decision=decision.strategy.value, reason=decision.reason)


@router.post("/{attempt_id}/release")
async def release_attempt(attempt_id: str, body: ReleaseAttempt, caller: Machine, system: CurrentSystem) -> Released:
    """Give the task back to its lane at once; no attempt is charged."""
    task, fence = await _held(system, caller.user_id, attempt_id, body.fence)
    answer = await system.gateway.release(task, fence, body.reason)
    if answer is not Answer.OK:
        raise refused(answer)
    return Released(status="released")


async def _held(system: System, user_id: str, attempt_id: str, fence: int) -> tuple[Task, int]:
    task, its_fence = await system.gateway.attempt(user_id, attempt_id)
    if its_fence != fence:
        raise InvalidRequest("This fence is not that of the attempt.", hint="Send the one of the lease.", field="fence")
    return task, fence


async def _document(system: System, attempt_id: str, body: CompleteAttempt) -> Document:
    """The document delivered, its digest checked. Raises HTTPException 412, ConversionError, InvalidRequest."""
    if (body.result is None) == (body.upload_id is None):
        raise InvalidRequest("Send the result, or the id of its upload.", field="result")
    if body.result is not None:
        checked, raw = body.result.markdown.encode(), body.result.model_dump_json(exclude_defaults=True).encode()
    else:
        path = await system.partial_uploads.finished(attempt_id, body.upload_id or "")
        checked = raw = await asyncio.to_thread(path.read_bytes)
    if hashlib.sha256(checked).hexdigest() != body.sha256:
        raise HTTPException(412, "The digest differs from that of what arrived; send it again.")
    return await asyncio.to_thread(decode_document, raw)


def _about(task: Task, body: CompleteAttempt) -> JsonObject:
    """What is said of how it was made: the same for the same delivery, so that a second one is known."""
    return {
        "source": task.args.get("source"),
        "processing_time": round(body.timings.get("processing_s", 0.0), 4),
        "processing_method": "remote",
        "worker": (task.worker_id or "").partition(".")[0] or None,
    }


async def _lively(stream: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """What comes, as long as something does: a line that died silently must not keep the upload from a better one."""
    while True:
        try:
            async with asyncio.timeout(SILENCE_S):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise HTTPException(408, "Nothing came for a while; go on from the offset that HEAD tells.") from None
        if chunk is None:
            return
        yield chunk


def _checksum(header: str | None) -> tuple[str, bytes] | None:
    """Algorithm and digest of `Upload-Checksum`. Raises InvalidRequest."""
    if header is None:
        return None
    algorithm, _, text = header.partition(" ")
    try:
        digest = base64.b64decode(text, validate=True)
    except binascii.Error:
        digest = b""
    if algorithm not in CHECKSUMS or not digest:
        raise InvalidRequest(
            "This Upload-Checksum cannot be read.", hint=f"Send {CHECKSUMS[0]} and base64.", field="Upload-Checksum"
        )
    return algorithm, digest
