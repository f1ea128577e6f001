"""How documents and search hits are shown, and what a search may ask."""

from typing import Annotated, Literal, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    field_validator,
    model_validator,
)

from morag.domain.content import ContentType

Scalar = StrictStr | StrictInt | StrictFloat | StrictBool
_PREFIX = "metadata."


class DocumentShown(BaseModel):
    """A stored document."""

    document_id: str
    title: str
    source: str = Field(description="The file's name, or the URL.")
    content_type: ContentType
    media_type: str
    content_hash: str
    size_bytes: int
    chunks: int
    metadata: dict[str, JsonValue]
    created_at: str
    updated_at: str


class DocumentPage(BaseModel):
    """Documents, by id."""

    documents: list[DocumentShown]
    next_cursor: str | None


class SearchFilters(BaseModel):
    """What hits must match; all of it. Metadata as `{"metadata.author": "x"}` or `{"metadata": {"author": "x"}}`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"metadata.project": "atlas"}]})

    document_id: str | None = Field(default=None, max_length=200)
    content_type: ContentType | None = None
    metadata: dict[Annotated[str, Field(max_length=200)], Scalar] | None = Field(default=None, max_length=20)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: object) -> object:
        """Take `metadata.KEY` to mean KEY of `metadata`."""
        if not isinstance(given, dict):
            return given
        value = cast("dict[str, JsonValue]", given)
        if not any(key.startswith(_PREFIX) for key in value):
            return value
        inner = value.get("metadata") or {}
        dotted = {key[len(_PREFIX) :]: each for key, each in value.items() if key.startswith(_PREFIX)}
        rest = {key: each for key, each in value.items() if not key.startswith(_PREFIX)}
        return {**rest, "metadata": {**inner, **dotted} if isinstance(inner, dict) else inner}


class SearchQuery(BaseModel):
    """A question to the caller's own documents."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"query": "When was the mirror replaced?", "limit": 5}]}
    )

    query: str = Field(min_length=1, max_length=4000)
    limit: int = Field(default=10, ge=1, le=100)
    mode: Literal["hybrid", "dense", "keyword"] = "hybrid"
    filters: SearchFilters = Field(default_factory=SearchFilters)

    @field_validator("query")
    @classmethod
    def _has_words(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be blank")
        return value


class HitShown(BaseModel):
    """A piece of a document that fits; what does not apply of its place is left out."""

    text: str
    score: float
    document_id: str
    title: str
    source: str
    chunk_index: int
    page: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    speaker: str | None = None
    sheet: str | None = None
    slide: int | None = None
    heading_path: list[str] | None = None
    metadata: dict[str, JsonValue]


class SearchAnswer(BaseModel):
    """Hits, best first."""

    hits: list[HitShown]
    took_ms: float
