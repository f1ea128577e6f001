"""The wire between processes: messages that are checked when read, because the other side may be broken or hostile.

A converted document travels as JSON from the child process (later: from a user's machine) to the server, and rests in
that form in the blob store.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from morag.domain.content import ContentType, Document, Place, Segment
from morag.domain.errors import ConversionError

MAX_DOCUMENT_BYTES = 256 * 1024**2
"""Largest converted document taken, as JSON: about 250 million characters of Markdown."""


class SegmentMessage(BaseModel):
    """A segment with its place, flat; what does not apply is left out."""

    text_start: int = Field(ge=0)
    text_end: int = Field(ge=0)
    page: int | None = Field(default=None, ge=1)
    bbox: tuple[float, float, float, float] | None = None
    start_s: float | None = Field(default=None, ge=0)
    end_s: float | None = Field(default=None, ge=0)
    speaker: str | None = None
    sheet: str | None = None
    slide: int | None = Field(default=None, ge=1)
    heading_path: tuple[str, ...] = ()

    @classmethod
    def of(cls, segment: Segment) -> Self:
        """The message for a segment."""
        place = segment.place
        return cls(
            text_start=segment.text_start,
            text_end=segment.text_end,
            page=place.page,
            bbox=place.bbox,
            start_s=place.start_s,
            end_s=place.end_s,
            speaker=place.speaker,
            sheet=place.sheet,
            slide=place.slide,
            heading_path=place.heading_path,
        )

    def segment(self) -> Segment:
        """The segment of the message."""
        place = self.model_dump(exclude={"text_start", "text_end"})
        return Segment(text_start=self.text_start, text_end=self.text_end, place=Place(**place))


class DocumentMessage(BaseModel):
    """A converted document."""

    markdown: str
    content_type: ContentType
    media_type: str = Field(max_length=255)
    title: str | None = None
    metadata: dict[str, JsonValue]
    segments: list[SegmentMessage]


def encode_document(document: Document) -> bytes:
    """A document as JSON, UTF-8."""
    message = DocumentMessage(
        markdown=document.markdown,
        content_type=document.content_type,
        media_type=document.media_type,
        title=document.title,
        metadata=document.metadata,
        segments=[SegmentMessage.of(segment) for segment in document.segments],
    )
    return message.model_dump_json(exclude_defaults=True).encode()


def decode_document(raw: bytes) -> Document:
    """A document from JSON of an untrusted sender. Raises ConversionError with code `bad_result`."""
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise ConversionError("The converted document is too large.", code="bad_result")
    try:
        message = DocumentMessage.model_validate_json(raw)
    except ValidationError:
        raise ConversionError("The converter delivered something that is not a document.", code="bad_result") from None
    end = 0
    for segment in message.segments:
        if not end <= segment.text_start <= segment.text_end <= len(message.markdown):
            raise ConversionError("The converter delivered segments that do not fit its text.", code="bad_result")
        end = segment.text_end
    return Document(
        markdown=message.markdown,
        content_type=message.content_type,
        media_type=message.media_type,
        title=message.title,
        metadata=dict(message.metadata),
        segments=tuple(segment.segment() for segment in message.segments),
    )


class ChildJob(BaseModel):
    """What a conversion child is told, one line of JSON on its standard input."""

    model_config = ConfigDict(extra="forbid")

    source_path: str | None
    work_dir: str
    filename: str
    content_type: ContentType
    media_type: str
    url: str | None
    options: dict[str, JsonValue]
    speech_model: str


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
