"""What callers may send to have something converted or ingested. Forms and JSON carry the same fields."""

import json
import math
from typing import Annotated, Literal, cast

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    model_validator,
)

from morag.domain.content import ContentType
from morag.domain.task import Priority

MAX_ITEMS = 100
_MAX_OBJECT_BYTES = 64 * 1024
_MAX_DEPTH = 32


def _depth(value: JsonValue) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)


def _storable(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """An object that any JSON reader takes back: finite numbers, valid text, not too long or deep."""
    try:
        size_bytes, depth = len(json.dumps(value, allow_nan=False, ensure_ascii=False).encode()), _depth(value)
    except (UnicodeEncodeError, RecursionError, ValueError):
        raise ValueError("must hold valid text and finite numbers") from None
    if size_bytes > _MAX_OBJECT_BYTES or depth > _MAX_DEPTH:
        raise ValueError(f"must be at most {_MAX_OBJECT_BYTES} bytes of JSON and {_MAX_DEPTH} levels deep")
    return value


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def _priority(value: object) -> object:
    """The priority behind its word or its number."""
    if isinstance(value, bool):
        raise ValueError("must be a word or a number")  # noqa: TRY004 - pydantic wants a ValueError
    text = str(value).strip().upper()
    if text in Priority.__members__:
        return Priority[text]
    return int(text) if text.isdecimal() and text.isascii() else value


JsonObjectField = Annotated[dict[str, JsonValue], AfterValidator(_storable)]
PriorityField = Annotated[Priority, BeforeValidator(_priority, json_schema_input_type=str | int)]
DocumentId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@~+-]{0,199}$")]
Url = Annotated[str, Field(min_length=1, max_length=8192, examples=["https://example.org/report.pdf"])]


class Conversion(BaseModel):
    """How to convert; the same for files and URLs."""

    model_config = ConfigDict(extra="forbid")

    source_type: ContentType | None = Field(
        default=None, description="What it is; detected if absent, and checked against the detection if given."
    )
    gpu: bool = Field(default=False, description="Convert on your GPU machine, if one is there.")
    remote: bool = Field(
        default=False,
        validation_alias=AliasChoices("remote", "use_remote"),
        description="Convert on a machine of yours, one with a GPU first; `use_remote` means the same.",
    )
    allow_degraded: bool = Field(default=True, description="Whether a simpler conversion is better than none.")
    remote_timeout: Annotated[float, AfterValidator(_finite)] | None = Field(
        default=None, gt=0, le=86_400, description="Seconds the conversion may run; by content type if absent."
    )
    fallback_to_local: bool = Field(default=True, description="Whether the server may run what your machines cannot.")
    metadata: JsonObjectField = Field(
        default_factory=dict, description="Anything; it comes back with the result.", examples=[{"project": "atlas"}]
    )
    use_docling: bool = Field(default=False, description="Convert with Docling, where it is installed.")
    options: JsonObjectField = Field(
        default_factory=dict, description="Options of the content type, such as `ocr` or `language`.", examples=[{}]
    )
    webhook_url: Url | None = Field(
        default=None,
        description="Told by a signed POST when the task has ended, whichever way (Standard Webhooks).",
        examples=["https://example.org/hooks/morag"],
    )

    @model_validator(mode="before")
    @classmethod
    def _merge_names(cls, given: object) -> object:
        """Take both names of `remote` at once, as long as they agree."""
        value = cast("dict[str, JsonValue]", given) if isinstance(given, dict) else {}
        if not {"remote", "use_remote"} <= value.keys():
            return cast("object", given)
        if value["remote"] != value["use_remote"]:
            raise ValueError("remote and use_remote mean the same, but say different things")
        return {name: each for name, each in value.items() if name != "use_remote"}


class UrlConversion(Conversion):
    """Convert what a URL leads to."""

    url: Url


class ConversionBatch(BaseModel):
    """Convert several URLs at once."""

    model_config = ConfigDict(extra="forbid")

    items: list[UrlConversion] = Field(min_length=1, max_length=MAX_ITEMS)


class Ingestion(Conversion):
    """How to convert, cut and keep."""

    document_id: DocumentId | None = Field(default=None, description="Its name among your documents; made if absent.")
    replace_existing: bool = Field(default=False, description="Replace the document of that id instead of 409.")
    chunk_size: int | None = Field(default=None, gt=0, le=1_000_000, description="Longest chunk, characters.")
    chunk_overlap: int | None = Field(default=None, ge=0, le=1_000_000, description="Characters shared by neighbours.")
    chunking_strategy: Literal["markdown", "sentence", "paragraph", "fixed"] | None = Field(
        default=None, description="Where text is cut; `markdown` if absent."
    )
    priority: PriorityField = Field(
        default=Priority.NORMAL,
        description="Order among your own tasks: urgent, high, normal, low, batch, or 10, 8, 5, 3, 1.",
        examples=["normal"],
    )


class UrlIngestion(Ingestion):
    """Ingest what a URL leads to."""

    url: Url


class IngestionBatch(BaseModel):
    """Ingest several URLs: all are taken, or none."""

    model_config = ConfigDict(extra="forbid")

    items: list[UrlIngestion] = Field(min_length=1, max_length=MAX_ITEMS)
