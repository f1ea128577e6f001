"""A conversion's result as a task carries it: the document inline where it is small, else as a blob."""

import json

from morag.domain.content import Document
from morag.domain.errors import ConversionError
from morag.domain.json import Json, JsonObject
from morag.domain.task import Completed
from morag.pipeline.ports import BlobStore
from morag.protocol import decode_document, encode_document

INLINE_BYTES = 200 * 1024
"""Documents up to this size stand in the record itself; the store takes 256 KiB in all."""


async def pack(document: Document, about: JsonObject, blobs: BlobStore) -> Completed:
    """The outcome that carries a document, and beside it what is to be said of how it was made."""
    raw = encode_document(document)
    if len(raw) <= INLINE_BYTES:
        return Completed(result={**about, "document": json.loads(raw)})
    return Completed(result=about, result_blob=await blobs.put(raw))


async def unpack(result: Json, result_blob: str | None, blobs: BlobStore) -> tuple[Document, JsonObject]:
    """The document and what was said beside it. Raises ConversionError if the result carries none."""
    if not isinstance(result, dict):
        raise ConversionError("The conversion left no document.", code="bad_result")
    about = {key: value for key, value in result.items() if key != "document"}
    raw = await blobs.get(result_blob) if result_blob else json.dumps(result.get("document")).encode()
    return decode_document(raw), about
