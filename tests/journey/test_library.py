import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

Json = dict[str, Any]
Note = Callable[..., dict[str, tuple[str, bytes]]]
Ended = Callable[[str], Json]
Ingest = Callable[..., str]


@pytest.fixture
def ingest(api: httpx2.Client, note: Note, ended: Ended) -> Ingest:
    """Ingest a note under a fresh id with these fields: the id."""

    def act(**fields: str) -> str:
        document_id = f"doc-{uuid.uuid4().hex}"
        data = {"document_id": document_id, **fields}
        status = ended(api.post("/api/v1/ingest/file", files=note(document_id), data=data).json()["task_id"])
        assert status["status"] == "completed", status
        return document_id

    return act


def test_document_is_shown_and_read(api: httpx2.Client, ingest: Ingest, word: str) -> None:
    document_id = ingest(metadata='{"project": "atlas"}')
    document = api.get(f"/api/v1/documents/{document_id}").json()
    assert (document["document_id"], document["source"], document["content_type"]) == (
        document_id,
        "note.md",
        "document",
    )
    assert document["metadata"]["project"] == "atlas"
    markdown = api.get(f"/api/v1/documents/{document_id}/markdown")
    assert markdown.headers["content-type"] == "text/markdown; charset=utf-8"
    assert word in markdown.text


def test_documents_are_listed_page_by_page(api: httpx2.Client, ingest: Ingest) -> None:
    ids = {ingest() for _ in range(3)}
    listed: list[str] = []
    page: Json = {"next_cursor": None}
    while True:
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else {}
        page = api.get("/api/v1/documents", params={"limit": 2, **cursor}).json()
        listed += [document["document_id"] for document in page["documents"]]
        if page["next_cursor"] is None:
            break
    assert ids <= set(listed)
    assert len(listed) == len(set(listed))


def test_deleted_document_is_gone_everywhere(api: httpx2.Client, ingest: Ingest, word: str) -> None:
    document_id = ingest()
    assert api.delete(f"/api/v1/documents/{document_id}").status_code == 204
    gone = [api.get(f"/api/v1/documents/{document_id}"), api.get(f"/api/v1/documents/{document_id}/markdown")]
    gone.append(api.delete(f"/api/v1/documents/{document_id}"))
    assert [answer.status_code for answer in gone] == [404] * 3
    hits = api.post("/search", json={"query": word}).json()["hits"]
    assert all(hit["document_id"] != document_id for hit in hits)


@pytest.mark.parametrize("path", ["/search", "/api/v1/search"])
@pytest.mark.parametrize("mode", ["hybrid", "dense", "keyword"])
def test_hit_says_where_it_came_from(api: httpx2.Client, ingest: Ingest, word: str, path: str, mode: str) -> None:
    document_id = ingest(metadata='{"shelf": "b2"}')
    answer = api.post(path, json={"query": f"Where was the {word} seen?", "mode": mode, "limit": 5})
    assert answer.status_code == 200, answer.text
    assert answer.json()["took_ms"] > 0
    hit = next(hit for hit in answer.json()["hits"] if hit["document_id"] == document_id)
    assert {"text", "score", "document_id", "title", "source", "chunk_index", "metadata"} <= set(hit)
    assert hit["heading_path"] == [f"About {word}"]
    assert hit["metadata"]["shelf"] == "b2"
    assert "page" not in hit


def test_filters_narrow_what_is_found(api: httpx2.Client, ingest: Ingest, word: str) -> None:
    first, second = ingest(metadata='{"shelf": "b2"}'), ingest(metadata='{"shelf": "c3"}')
    asked: list[tuple[Json, set[str]]] = [
        ({}, {first, second}),
        ({"document_id": first}, {first}),
        ({"metadata.shelf": "c3"}, {second}),
        ({"metadata": {"shelf": "c3"}}, {second}),
        ({"content_type": "audio"}, set()),
    ]
    for filters, expected in asked:
        hits = api.post("/search", json={"query": word, "mode": "keyword", "filters": filters}).json()["hits"]
        assert {hit["document_id"] for hit in hits} == expected, filters


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "query"),
        ({"query": "   "}, "query"),
        ({"query": "x", "limit": 101}, "limit"),
        ({"query": "x", "mode": "psychic"}, "mode"),
        ({"query": "x", "user_id": "root"}, "user_id"),
        ({"query": "x", "filters": {"user_id": "root"}}, "filters.user_id"),
    ],
)
def test_malformed_search_names_the_field(api: httpx2.Client, body: Json, field: str) -> None:
    answer = api.post("/search", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


def test_pages_of_a_pdf_are_told_with_its_hits(api: httpx2.Client, samples: Path, ended: Ended) -> None:
    with (samples / "report.pdf").open("rb") as file:
        task = api.post("/api/v1/ingest/file", files={"file": file}).json()
    document_id = ended(task["task_id"])["result"]["document_id"]
    filters = {"document_id": document_id}
    hits = api.post("/search", json={"query": "report", "filters": filters}).json()["hits"]
    assert hits
    assert all(hit["page"] >= 1 for hit in hits)
