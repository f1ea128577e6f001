"""From what a caller sent to a checked request: fields of a form, the file's kind, options, what is not there yet.

route ─▶ receive_form ─▶ fields_of ─▶ from_file / from_url ─▶ Intake
"""

import asyncio
import json
from typing import TypeVar
from urllib.parse import urlsplit

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from morag.api.schemas.submissions import Conversion, Ingestion
from morag.api.uploads import Form
from morag.bootstrap.system import System
from morag.control.tasks.intake import IngestRequest, Request
from morag.domain.content import ContentType, Source
from morag.domain.errors import ConversionError, FetchRefused, InvalidRequest
from morag.domain.json import Json, JsonObject
from morag.domain.worker import Wish
from morag.pipeline.conversion.detect import check_source_type, detect
from morag.pipeline.conversion.registry import validate_options
from morag.pipeline.ingestion.chunk import ChunkOptions

_JSON_FIELDS = ("metadata", "options")
_YOUTUBE = ("youtube.com", "youtu.be", "youtube-nocookie.com")

Fields = TypeVar("Fields", bound=BaseModel)


def fields_of(form: Form, model: type[Fields]) -> Fields:
    """The form's fields, checked; an empty one counts as left out. Raises InvalidRequest, RequestValidationError."""
    values: dict[str, Json] = {name: text for name, text in form.fields.items() if text}
    values |= {name: _object(name, form.fields[name]) for name in _JSON_FIELDS if values.get(name)}
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in found]) from None


async def from_file(system: System, source: Source, fields: Conversion, key: str | None) -> Request:
    """The request to convert an uploaded file. Raises InvalidRequest, ConversionError."""
    _refuse_unbuilt(fields)
    _check_webhook(system, fields)
    path = system.blobs.path(source.sha256)
    detected = await asyncio.to_thread(detect, path, filename=source.filename, media_type=source.media_type)
    if fields.source_type:
        detected = check_source_type(detected, fields.source_type)
    validate_options(detected.content_type, fields.options)
    return Request(
        source=source,
        content_type=detected.content_type,
        media_type=detected.media_type,
        options=fields.options,
        timeout_s=fields.remote_timeout,
        metadata=fields.metadata,
        webhook_url=fields.webhook_url,
        wish=Wish(gpu=fields.gpu, remote=fields.remote, fallback_to_local=fields.fallback_to_local),
        idempotency_key=key,
    )


def from_url(
    system: System, url: str, fields: Conversion, key: str | None, *, source_type: ContentType | None = None
) -> Request:
    """The request to convert what a URL leads to. Raises InvalidRequest, FetchRefused, ConversionError, StorageFull."""
    _refuse_unbuilt(fields)
    if source_type and fields.source_type not in {None, source_type}:
        raise InvalidRequest(f"This address takes source_type '{source_type}' only.", field="source_type")
    system.check_url(url)
    _check_webhook(system, fields)
    content_type = source_type or fields.source_type or (ContentType.YOUTUBE if _is_youtube(url) else None)
    _check_options(content_type, fields.options)
    system.blobs.check_room()
    return Request(
        url=url,
        content_type=content_type,
        options=fields.options,
        timeout_s=fields.remote_timeout,
        metadata=fields.metadata,
        webhook_url=fields.webhook_url,
        wish=Wish(gpu=fields.gpu, remote=fields.remote, fallback_to_local=fields.fallback_to_local),
        idempotency_key=key,
    )


def to_ingest(conversion: Request, fields: Ingestion, *, batch_id: str | None = None) -> IngestRequest:
    """The request to convert and keep. Raises InvalidRequest for chunking that cannot be."""
    given: JsonObject = {
        "chunk_size": fields.chunk_size,
        "chunk_overlap": fields.chunk_overlap,
        "strategy": fields.chunking_strategy,
    }
    chunking: JsonObject = {name: value for name, value in given.items() if value is not None}
    ChunkOptions.of(chunking)
    return IngestRequest(
        conversion=conversion,
        document_id=fields.document_id,
        replace_existing=fields.replace_existing,
        chunking=chunking,
        priority=fields.priority,
        batch_id=batch_id,
    )


def item_keys(key: str | None, count: int) -> list[str | None]:
    """A key for each item of a batch.

    The last one's says that it is the last, so that the same key with a longer or shorter batch meets a conflict.
    """
    if key is None:
        return [None] * count
    return [*(f"{key}#{index}" for index in range(count - 1)), f"{key}#end"]


def _object(name: str, text: str) -> JsonObject:
    """The JSON object in a form's field. Raises InvalidRequest naming the field."""
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequest(f"The field '{name}' is not JSON.", hint="Send a JSON object.", field=name) from None
    if not isinstance(value, dict):
        raise InvalidRequest(f"The field '{name}' is not a JSON object.", hint="Send a JSON object.", field=name)
    return value


def _refuse_unbuilt(fields: Conversion) -> None:
    """Say plainly what cannot be asked of this server, instead of doing something else."""
    if fields.use_docling:
        raise InvalidRequest(
            "Docling is not installed here.",
            code="docling_not_available",
            hint="Leave use_docling out: this version converts with its own converters.",
            field="use_docling",
        )


def _check_webhook(system: System, fields: Conversion) -> None:
    """Refuse a receiver the server must not reach, at submit. Raises InvalidRequest."""
    if fields.webhook_url is None:
        return
    try:
        system.check_url(fields.webhook_url)
    except FetchRefused as error:
        raise InvalidRequest(error.message, code=error.code, hint=error.hint, field="webhook_url") from None


def _check_options(content_type: ContentType | None, options: JsonObject) -> None:
    """Check the options; while the content type is unknown, that there is one that takes them."""
    refusal: ConversionError | None = None
    for candidate in [content_type] if content_type else list(ContentType):
        try:
            validate_options(candidate, options)
        except ConversionError as error:
            refusal = refusal or error
        else:
            return
    if refusal:
        raise refusal


def _is_youtube(url: str) -> bool:
    host = (urlsplit(url).hostname or "").removesuffix(".")
    return host in _YOUTUBE or host.endswith(tuple(f".{name}" for name in _YOUTUBE))
