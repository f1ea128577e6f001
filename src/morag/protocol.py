"""The wire between processes: messages that are checked when read, because the other side may be broken or hostile.

A converted document travels as JSON from the child process (later: from a user's machine) to the server, and rests in
that form in the blob store.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from morag.domain.content import ContentType, Document
from morag.domain.errors import ConversionError
from morag.domain.json import JsonObject

MAX_DOCUMENT_BYTES = 256 * 1024**2
"""Largest converted document taken, as JSON: about 250 million characters of Markdown."""

_DOCUMENT = TypeAdapter(Document)


def encode_document(document: Document) -> bytes:
    """A document as JSON, UTF-8."""
    return _DOCUMENT.dump_json(document)


def decode_document(raw: bytes) -> Document:
    """A document from JSON of an untrusted sender. Raises ConversionError with code `bad_result`."""
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise ConversionError("The converted document is too large.", code="bad_result")
    try:
        document = _DOCUMENT.validate_json(raw)
    except ValidationError:
        raise ConversionError("The converter delivered something that is not a document.", code="bad_result") from None
    end = 0
    for segment in document.segments:
        if not end <= segment.text_start <= segment.text_end <= len(document.markdown):
            raise ConversionError("The converter delivered segments that do not fit its text.", code="bad_result")
        end = segment.text_end
    return document


class ChildJob(BaseModel):
    """What a conversion child is told, one line of JSON on its standard input."""

    model_config = ConfigDict(extra="forbid")

    source_path: str | None
    work_dir: str
    filename: str
    content_type: ContentType
    media_type: str
    url: str | None
    options: JsonObject


class ChildProgress(BaseModel):
    """A line a child writes while it works."""

    kind: Literal["progress"] = "progress"
    fraction: float = Field(ge=0, le=1)
    stage: str = Field(max_length=100)
    message: str = Field(max_length=500)


class ChildDone(BaseModel):
    """The last line of a child that succeeded: the document lies in its work folder under this name."""

    kind: Literal["done"] = "done"
    document: Literal["document.json"] = "document.json"


class ChildFailed(BaseModel):
    """The last line of a child whose converter raised; `is_final` when the input itself is at fault."""

    kind: Literal["failed"] = "failed"
    code: str = Field(max_length=100)
    message: str = Field(max_length=2000)
    hint: str | None = Field(default=None, max_length=2000)
    is_final: bool
    signature: str = Field(max_length=200)


ChildMessage = Annotated[ChildProgress | ChildDone | ChildFailed, Field(discriminator="kind")]
CHILD_MESSAGE: TypeAdapter[ChildProgress | ChildDone | ChildFailed] = TypeAdapter(ChildMessage)
