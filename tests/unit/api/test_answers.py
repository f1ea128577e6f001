import math

import pytest
from fastapi.exceptions import RequestValidationError

from morag.api import cursors
from morag.api.answers import rfc3339
from morag.api.conversions import prefers_markdown
from morag.api.errors import answer_error, status_of, status_of_failure
from morag.api.schemas.library import SearchFilters
from morag.api.schemas.submissions import Conversion, Ingestion
from morag.api.submissions import fields_of, item_keys
from morag.api.uploads import Form
from morag.api.waiting import preferred_wait_s
from morag.domain.content import Source
from morag.domain.errors import (
    ConversionError,
    DocumentExists,
    FetchFailed,
    FetchRefused,
    IdempotencyConflict,
    InvalidRequest,
    LimitReached,
    MoragError,
    NotFound,
    StorageFull,
    TooLarge,
    Unavailable,
)
from morag.domain.failure import Failure, FailureType
from morag.domain.task import Priority

SOURCE = Source(sha256="0" * 64, size_bytes=1, filename="a.txt")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidRequest(""), 400),
        (FetchRefused(""), 400),
        (NotFound(""), 404),
        (DocumentExists(""), 409),
        (IdempotencyConflict(""), 409),
        (TooLarge(""), 413),
        (ConversionError(""), 415),
        (ConversionError("", code="unknown_option"), 400),
        (ConversionError("", code="empty_file"), 400),
        (ConversionError("", code="zip_bomb"), 413),
        (FetchFailed(""), 415),
        (StorageFull(""), 507),
        (Unavailable(""), 503),
        (MoragError(""), 500),
    ],
)
def test_each_kind_of_error_has_its_status(error: MoragError, status: int) -> None:
    assert status_of(error) == status


@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [
        (FailureType.PROCESSING_ERROR, "broken_file", 415),
        (FailureType.PROCESSING_ERROR, "child_crashed", 415),
        (FailureType.PROCESSING_ERROR, "too_large", 413),
        (FailureType.PROCESSING_ERROR, "url_not_allowed", 400),
        (FailureType.PROCESSING_ERROR, "bad_option", 400),
        (FailureType.PROCESSING_ERROR, "internal_error", 500),
        (FailureType.NETWORK_FAILURE, "fetch_failed", 415),
        (FailureType.TASK_TIMEOUT, "task_timeout", 504),
        (FailureType.RESOURCE_EXHAUSTION, "child_out_of_memory", 413),
        (FailureType.WORKER_OFFLINE, "worker_gone", 503),
    ],
)
def test_each_failed_conversion_has_its_status(kind: FailureType, code: str, status: int) -> None:
    assert status_of_failure(Failure(type=kind, code=code, message="")) == status


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, 300),
        ("wait=7", 7),
        ("respond-async", 0),
        ("respond-async, wait=10", 10),
        ("handling=lenient; x, WAIT = 3", 3),
        ("wait=999999", 3600),
        ("wait=-1", 300),
        ("wait=soon", 300),
        ("await=5", 300),
    ],
)
def test_prefer_says_how_long_to_wait(prefer: str | None, seconds: float) -> None:
    assert preferred_wait_s(prefer) == seconds


@pytest.mark.parametrize(
    ("accept", "is_markdown"),
    [
        ("text/markdown", True),
        ("text/html, text/markdown;q=0.9, */*", True),
        ("text/markdown; charset=utf-8", True),
        ("text/markdown;q=0", False),
        ("*/*", False),
        ("text/markdownish", False),
        ("application/json", False),
        ("", False),
    ],
)
def test_markdown_alone_is_for_those_who_name_it(accept: str, *, is_markdown: bool) -> None:
    assert prefers_markdown(accept) is is_markdown


def test_limit_reached_says_when_to_ask_again() -> None:
    answer = answer_error({"type": "http"}, LimitReached("Too many.", code="storage_limit", retry_after_s=59.2))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")


def test_times_are_utc_to_the_millisecond() -> None:
    assert rfc3339(0.25) == "1970-01-01T00:00:00.250Z"
    assert rfc3339(1_700_000_000) == "2023-11-14T22:13:20.000Z"


def test_cursor_leads_back_to_its_id() -> None:
    for text in ("a", "doc-ü", "x" * 199):
        assert cursors.decode(cursors.encode(text)) == text
    assert cursors.decode(None) is None
    for bad in ("%%%", "gA", "abc def"):
        with pytest.raises(InvalidRequest):
            cursors.decode(bad)


def test_form_fields_become_what_they_mean() -> None:
    fields = {"gpu": "false", "use_remote": "no", "metadata": '{"a": [1]}', "priority": "High", "chunk_size": "500"}
    got = fields_of(Form(file=SOURCE, fields={**fields, "document_id": ""}), Ingestion)
    assert (got.gpu, got.remote, got.metadata, got.chunk_size) == (False, False, {"a": [1]}, 500)
    assert (got.priority, got.document_id) == (Priority.HIGH, None)


@pytest.mark.parametrize(("text", "priority"), [("urgent", 10), ("10", 10), ("normal", 5), ("batch", 1), ("1", 1)])
def test_priority_is_a_word_or_its_number(text: str, priority: int) -> None:
    assert fields_of(Form(file=SOURCE, fields={"priority": text}), Ingestion).priority == priority


@pytest.mark.parametrize(
    "fields",
    [
        {"priority": "7"},
        {"priority": "²"},
        {"remote_timeout": "nan"},
        {"remote_timeout": "inf"},
        {"document_id": "a/b"},
        {"document_id": ".."},
        {"gpu": "true", "unheard": "of"},
        {"metadata": '{"a": ' + "[" * 50 + "]" * 50 + "}"},
        {"metadata": '{"a": "' + "x" * 70_000 + '"}'},
    ],
)
def test_malformed_form_fields_are_refused(fields: dict[str, str]) -> None:
    with pytest.raises(RequestValidationError):
        fields_of(Form(file=SOURCE, fields=fields), Ingestion)


@pytest.mark.parametrize("value", [math.nan, math.inf, "\ud800"])
def test_metadata_holds_only_what_json_can_carry(value: object) -> None:
    with pytest.raises(ValueError, match="metadata"):
        Conversion.model_validate({"metadata": {"a": value}})


def test_metadata_filters_are_taken_dotted_or_nested() -> None:
    dotted = SearchFilters.model_validate({"metadata.a": 1, "metadata.b.c": True, "document_id": "x"})
    assert dotted.metadata == {"a": 1, "b.c": True}
    assert dotted == SearchFilters.model_validate({"metadata": {"a": 1, "b.c": True}, "document_id": "x"})


def test_keys_of_a_batch_tell_its_length() -> None:
    assert item_keys(None, 2) == [None, None]
    assert item_keys("k", 3) == ["k#0", "k#1", "k#end"]
    assert item_keys("k", 1) == ["k#end"]
