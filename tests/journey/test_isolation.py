"""What is Alice's is Alice's: every route of the application, asked by everybody who could try.

The rows are made from the application's own routes, those that are not described too; one without a row in
`isolation/rows.py` fails. Each cell is one request: who asks, and what they must be told.
"""

import json
import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from tests.journey.isolation.place import ENDED, LIVE, SECRET, Place, make_keys, told
from tests.journey.isolation.rows import ROWS, Ask, Route, Row, named, note

from morag.api.app import create_app
from morag.domain.content import Chunk, ContentType, Generation
from morag.domain.content import Place as Spot
from morag.domain.identity import Scope
from morag.pipeline.ports import Filters, Point
from morag.settings import Settings
from morag.storage.vectors import records
from morag.storage.vectors.embedded import EmbeddedIndex

if TYPE_CHECKING:
    import subprocess

pytestmark = pytest.mark.xdist_group("isolation")

StartServer = Callable[..., tuple[str, "subprocess.Popen[str]"]]
Json = dict[str, Any]

WRONG = ("malformed", "unknown", *ENDED)
SINGLE = {"alice submit": Scope.SUBMIT, "alice worker": Scope.WORKER, "alice admin": Scope.ADMIN}
STALE = "stale fence"
LET_IN, AS_MISSING, NOTHING_OF_HERS = "let in", "as missing", "nothing of hers"
SAME = {"X-Request-Id": "same"}
NO_MORE = {404, 409, 410}
"""What a holder is told whose lease is over."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Who asks a route, and what they are told: a status, or how it compares."""

    who: str
    told: int | str


def routes_of(app: FastAPI) -> list[Route]:
    """Every route, those that are not described too."""
    found = [(context.original_route, str(context.path)) for context in iter_route_contexts(app.routes)]
    return sorted(
        (method, path) for route, path in found if isinstance(route, APIRoute) for method in route.methods or ()
    )


def cells(row: Row) -> list[Cell]:
    """Everybody who asks that route; its rightful caller last, who finds everything as it was."""
    if row.kind == "everybody":
        return [Cell(who, LET_IN) for who in ("none", *WRONG, *LIVE)]
    is_admins = Scope.ADMIN in row.scopes
    stranger = {"thing": AS_MISSING, "own": NOTHING_OF_HERS}.get(row.kind, 403)
    return [
        Cell("none", LET_IN if row.kind == "operator" else 401),
        *(Cell(who, 401) for who in WRONG),
        *(Cell(who, 403) for who, scope in SINGLE.items() if scope not in row.scopes),
        Cell("bob", stranger),
        Cell("admin", LET_IN if is_admins else 403),
        *([] if is_admins else [Cell("admin with everything", stranger)]),
        *([Cell(STALE, "settles nothing")] if row.stale else []),
        *([] if row.scopes.isdisjoint({Scope.SUBMIT, Scope.WORKER}) else [Cell("alice", LET_IN)]),
    ]


APP = create_app(Settings(data_dir=Path("nowhere")))
ROUTES = routes_of(APP)
MATRIX = [(route, cell) for route in ROUTES if route in ROWS for cell in cells(ROWS[route])]


@pytest.fixture(scope="module")
def place(start_server: StartServer, site: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    data_dir = str(tmp_path_factory.mktemp("isolation") / "data")
    address, _ = start_server(MORAG_DATA_DIR=data_dir, MORAG_FETCH_ALLOW=site.removeprefix("http://"))
    made = Place(address, site, make_keys(data_dir))
    yield made
    made.close()


def test_every_route_has_a_row() -> None:
    assert [route for route in ROUTES if route not in ROWS] == []
    assert [route for route in ROWS if route not in ROUTES] == []
    assert len(ROUTES) > 55
    assert len(MATRIX) > 600


def test_new_route_has_none_and_is_found_though_it_is_hidden() -> None:
    app = create_app(Settings(data_dir=Path("nowhere")))
    app.add_api_route("/api/v1/new", lambda: "", methods=["PUT"], include_in_schema=False)
    assert [route for route in routes_of(app) if route not in ROWS] == [("PUT", "/api/v1/new")]


def ask(place: Place, who: str, route: Route, asked: Ask, ids: dict[str, str] | None = None) -> httpx2.Response:
    method, path = route
    ids = asked.ids if ids is None else ids
    sent = dict(asked.body(ids))
    headers = {**SAME, **sent.pop("headers", {})}
    return place.clients[who].request(method, path.format(**ids), headers=headers, **sent)


@pytest.mark.parametrize("route", [route for route in ROUTES if route in ROWS], ids=" ".join)
def test_route_tells_each_what_is_theirs(place: Place, route: Route) -> None:
    row = ROWS[route]
    asked = row.ask(place)
    for cell in cells(row):
        if cell.who == STALE:
            is_refused_as_stale(place, route, row)
        else:
            is_told(place, route, asked, cell)


def is_told(place: Place, route: Route, asked: Ask, cell: Cell) -> None:
    """Ask, and compare with what the cell says."""
    answer = ask(place, cell.who, route, asked)
    where = f"{cell.who}: {answer.status_code} {answer.text[:300]}"
    if cell.told == LET_IN:
        assert answer.status_code < 300, where
    elif cell.told == AS_MISSING:
        missing = ask(place, cell.who, route, asked, asked.missing)
        assert answer.status_code == missing.status_code == 404, where
        assert anonymised(answer, asked.ids) == anonymised(missing, asked.missing)
    elif cell.told == NOTHING_OF_HERS:
        assert answer.status_code < 300, where
    else:
        assert answer.status_code == cell.told, where
        assert answer.headers["content-type"] == "application/problem+json"
    if cell.who not in {"alice", "admin"} and cell.told != AS_MISSING:
        assert place.marks_in(answer.text) - set(asked.ids.values()) == set(), where


def anonymised(answer: httpx2.Response, ids: dict[str, str]) -> tuple[str, dict[str, str]]:
    """An answer without the ids that were asked for, and without what is different each time."""
    text = answer.text
    for value in ids.values():
        text = text.replace(value, "ID")
    # the length of the body is that of the ids in it
    return text, {name: value for name, value in answer.headers.items() if name not in {"date", "content-length"}}


def is_refused_as_stale(place: Place, route: Route, row: Row) -> None:
    """Who held a lease that is over settles nothing by it, and what it uploads is not its successor's."""
    assert row.stale
    old, upload_id = place.lease(), ""
    if "upload_id" in route[1]:
        upload_id = place.partial(old)
    released = place.alice.post(f"/api/v1/attempts/{old['attempt_id']}/release", json={"fence": old["fence"]})
    assert released.status_code == 200, released.text
    new = place.lease(of=old["task_id"])
    assert new["fence"] > old["fence"]
    answer = ask(place, "alice", route, row.stale(old, upload_id))
    if row.settles:
        assert answer.status_code in NO_MORE, f"{answer.status_code} {answer.text}"
    if upload_id:
        foreign = f"/api/v1/attempts/{new['attempt_id']}/uploads/{upload_id}"
        assert place.alice.head(foreign).status_code == 404
    held = {"attempt_id": new["attempt_id"], "fence": new["fence"]}
    lost = {"attempt_id": old["attempt_id"], "fence": old["fence"]}
    beat = {"seq": 1, "leases": [held, lost]}
    heard = told(place.alice.post(f"/api/v1/workers/{place.worker['worker_id']}/heartbeat", json=beat))
    assert heard["leases"] == {new["attempt_id"]: "ok", old["attempt_id"]: "lost"}


def test_foreign_leases_are_lost_in_a_heartbeat(place: Place) -> None:
    lease = place.lease()
    his = place.register("bob")["worker_id"]
    beat = {"seq": 1, "leases": [{"attempt_id": lease["attempt_id"], "fence": lease["fence"], "progress": 0.9}]}
    heard = told(place.bob.post(f"/api/v1/workers/{his}/heartbeat", json=beat))
    assert heard["leases"] == {lease["attempt_id"]: "lost"}


def test_session_that_another_ended_is_heard_no_more(place: Place) -> None:
    instance = uuid.uuid4().hex
    old, new = place.register("alice", instance), place.register("alice", instance)
    assert old["worker_id"] == new["worker_id"]
    body = {"claim_id": "a", "slots": 1, "wait_s": 0, "generation": old["generation"]}
    assert place.alice.post(f"/api/v1/workers/{old['worker_id']}/claim", json=body).status_code == 409


def test_the_same_machine_id_is_two_workers_of_two_users(place: Place) -> None:
    instance = uuid.uuid4().hex
    assert place.register("alice", instance)["worker_id"] != place.register("bob", instance)["worker_id"]


def test_machines_cannot_serve_foreign_lanes(place: Place) -> None:
    place.waiting()
    lanes = told(place.alice.get("/api/v1/status/stats/queues"))["queues"]
    (hers,) = [lane for lane in lanes if "alice" in lane and "gpu" in lane]
    body = {
        "name": "thief",
        "instance_id": uuid.uuid4().hex,
        "version": "test",
        "type": "remote_gpu",
        "content_types": ["document"],
    }
    for lane in (hers, "celery"):
        assert place.bob.post("/api/v1/workers", json={**body, "lanes": [lane]}).status_code == 400
    his = place.register("bob")["worker_id"]
    claim = {"claim_id": uuid.uuid4().hex, "slots": 8, "wait_s": 0}
    assert place.bob.post(f"/api/v1/workers/{his}/claim", json=claim).status_code == 204


CRAFTED: list[Json] = [
    {},
    {"document_id": "DIARY"},
    {"content_type": "document"},
    {"metadata.u": "alice"},
    {"metadata": {"u": "alice", "user_id": "alice"}},
    {"metadata.user_id": "alice"},
    {"metadata": {"g": '["alice"]'}},
    {"metadata": {"": "alice"}},
]
REFUSED: list[Json] = [
    {"u": "alice"},
    {"user_id": "alice"},
    {"must": [{"key": "u", "match": {"value": "alice"}}]},
    {"should": [{"key": "u", "match": {"value": "alice"}}]},
    {"must_not": [{"key": "u", "match": {"value": "bob"}}]},
    {"document_id": {"$ne": ""}},
    {"document_id": ["DIARY"]},
    {"document_id": None, "or": {"document_id": "DIARY"}},
    {"metadata": {"u": {"$ne": "bob"}}},
    {"metadata": [["u", "alice"]]},
]


def test_no_filter_reaches_anothers_points(place: Place) -> None:
    diary = place.diary
    for mode in ("dense", "keyword"):
        for filters in CRAFTED:
            text = json.dumps(filters).replace("DIARY", diary)
            query = {"query": SECRET, "mode": mode, "limit": 100, "filters": json.loads(text)}
            found = place.bob.post("/search", json=query)
            assert found.status_code == 200, filters
            assert place.marks_in(found.text) == set(), filters
        assert told(place.alice.post("/search", json={"query": SECRET, "mode": mode}))["hits"]
    for filters in REFUSED:
        text = json.dumps(filters).replace("DIARY", diary)
        answer = place.bob.post("/search", json={"query": SECRET, "filters": json.loads(text)})
        assert answer.status_code == 422, filters
        assert SECRET not in answer.text


def test_others_documents_take_no_place_among_ones_own(place: Place) -> None:
    """Thirty nearer pieces of somebody else's neither push out a hit nor change how it is scored."""
    word = f"alone{uuid.uuid4().hex}"
    place.ended(place.ingest(f"# Mine\n\nThe {word} is Bob's.\n", name="bob"), "bob")
    query = {"query": word, "mode": "keyword"}
    before = told(place.bob.post("/search", json=query))["hits"]
    place.ended(place.ingest("\n\n".join(f"# Part {n}\n\n{word} {word} {word}." for n in range(30))))
    after = told(place.bob.post("/search", json=query))["hits"]
    assert before == after
    assert len(before) == 1


# the index by itself: the filter that must be there


def point(user_id: str, text: str) -> Point:
    return Point(
        user_id=user_id,
        generation=Generation(document_id=f"{user_id}s", task_id=f"task-of-{user_id}", fence=1),
        content_type=ContentType.DOCUMENT,
        metadata={},
        chunk=Chunk(index=0, text=text, text_start=0, text_end=len(text), place=Spot()),
        vector=(1.0, 0.0, 0.0, 0.0),
    )


def check_that_index_keeps_users_apart(folder: Path) -> None:
    """Ask the index for Bob, by meaning and by words: it gives what is Bob's, and that alone."""
    index = EmbeddedIndex(folder, dimensions=4)
    try:
        index.add([point("alice", f"The {SECRET} was in flower."), point("bob", f"No {SECRET} here.")])
        everything = Filters()
        found = [
            index.dense("bob", [1.0, 0.0, 0.0, 0.0], limit=10, filters=everything),
            index.keyword("bob", SECRET, limit=10, filters=everything),
        ]
        assert [[each.generation.document_id for each in ranking] for ranking in found] == [["bobs"], ["bobs"]]
    finally:
        index.close()


def test_index_is_asked_for_one_users_points(tmp_path: Path) -> None:
    check_that_index_keeps_users_apart(tmp_path / "index")


def test_index_without_the_users_filter_would_be_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = records.exact_terms

    def for_anybody(user_id: str, filters: Filters) -> list[tuple[str, str]]:
        return [(key, value) for key, value in kept(user_id, filters) if key != records.USER]

    monkeypatch.setattr(records, "exact_terms", for_anybody)
    with pytest.raises(AssertionError, match="alices"):
        check_that_index_keeps_users_apart(tmp_path / "index")


# lists, counts, streams


def test_lists_and_counts_are_of_ones_own(place: Place) -> None:
    place.waiting()
    his = place.ingest(name="bob")
    tasks = told(place.bob.get("/api/v1/status/", params={"limit": 200}))
    assert place.marks_in(json.dumps(tasks)) == set()
    assert his in {task["task_id"] for task in tasks["tasks"]}
    for state in ("pending", "running", "completed", "failed", "cancelled"):
        found = place.bob.get("/api/v1/status/", params={"state": state, "limit": 200})
        assert place.marks_in(found.text) == set()
    lanes = told(place.bob.get("/api/v1/status/stats/queues"))["queues"]
    assert not [lane for lane in lanes if "alice" in lane]
    assert "alice" in place.clients["admin"].get("/api/v1/status/stats/queues").text


def test_cursors_of_anothers_lists_lead_nowhere_else(place: Place) -> None:
    place.ended(place.ingest(document_id=f"another-{uuid.uuid4().hex}"))
    for path in ("/api/v1/documents", "/api/v1/status/"):
        page = told(place.alice.get(path, params={"limit": 1}))
        found = place.bob.get(path, params={"cursor": page["next_cursor"], "limit": 200})
        assert found.status_code == 200
        assert place.marks_in(found.text) == set()


def test_stream_resumed_by_a_stranger_is_a_missing_one(place: Place) -> None:
    task_id = place.waiting()
    for last in ("", "0", "1", "999999"):
        answer = place.bob.get(f"/api/v1/status/{task_id}/events", headers={"Last-Event-ID": last})
        assert answer.status_code == 404


def test_batch_is_its_owners_alone(place: Place) -> None:
    items = {"items": [{"url": f"{place.site}/one"}, {"url": f"{place.site}/two"}]}
    batch = told(place.alice.post("/api/v1/ingest/batch", json=items), 202)
    place.marks |= {batch["batch_id"], *batch["task_ids"]}
    for task_id in (*batch["task_ids"], batch["batch_id"]):
        assert place.bob.get(f"/api/v1/status/{task_id}").status_code == 404
    his = told(place.bob.post("/api/v1/ingest/batch", json=items), 202)
    assert place.marks_in(json.dumps(his)) == set()
    assert place.marks_in(place.bob.get("/api/v1/status/").text) == set()


# what two users do alike


def test_the_same_file_is_new_to_each_user(place: Place) -> None:
    text = f"# Same\n\nBoth have it: {uuid.uuid4().hex}.\n"
    hers = place.ended(place.ingest(text))
    his = place.ended(place.ingest(text, name="bob"), "bob")
    assert "duplicate_of" not in json.dumps(his)
    assert place.marks_in(json.dumps(his)) == set()
    assert steps(place, "bob", his["task_id"]) == steps(place, "alice", hers["task_id"])
    assert place.ended(place.ingest(text, name="bob"), "bob")["result"]["duplicate_of"] == his["result"]["document_id"]


def steps(place: Place, name: str, task_id: str) -> list[str]:
    """What was done for a task: the kinds of its log's lines."""
    events = told(place.clients[name].get(f"/api/v1/status/{task_id}/history"))["events"]
    return [event["event"] for event in events if event["event"] != "progress"]


def test_the_same_idempotency_key_is_two_tasks(place: Place) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    found = [
        told(each.post("/api/v1/ingest/file", headers=headers, **note()), 202) for each in (place.alice, place.bob)
    ]
    assert found[0]["task_id"] != found[1]["task_id"]


def test_the_same_document_id_is_two_documents(place: Place) -> None:
    diary = place.document()
    assert place.ended(place.ingest(name="bob", document_id=diary), "bob")["status"] == "completed"
    assert SECRET not in place.bob.get(f"/api/v1/documents/{diary}/markdown").text
    assert place.bob.delete(f"/api/v1/documents/{diary}").status_code == 204
    assert SECRET in place.alice.get(f"/api/v1/documents/{diary}/markdown").text


def test_document_id_that_another_is_just_taking_is_free(place: Place) -> None:
    document_id = f"soon-{uuid.uuid4().hex}"
    place.ingest(document_id=document_id, remote="true", fallback_to_local="false")
    again = place.alice.post("/api/v1/ingest/file", data={"document_id": document_id}, **note())
    assert again.status_code == 409
    place.ingest(name="bob", document_id=document_id)


def test_webhook_secrets_and_deliveries_are_ones_own(place: Place) -> None:
    secrets = {told(each.get("/api/v1/webhooks/secret"))["secret"] for each in (place.alice, place.bob)}
    assert len(secrets) == 2
    place.ended(place.ingest(webhook_url=f"{place.site}/hook"))
    assert told(place.alice.get("/api/v1/webhooks/deliveries"))["deliveries"]
    assert told(place.bob.get("/api/v1/webhooks/deliveries"))["deliveries"] == []


# time


def test_a_foreign_thing_takes_as_long_to_refuse_as_a_missing_one(place: Place) -> None:
    asked = named("task_id", Place.waiting)(place)
    path = "/api/v1/status/{task_id}"
    took: dict[str, list[float]] = {"foreign": [], "missing": []}
    for _ in range(60):
        for name, ids in (("foreign", asked.ids), ("missing", asked.missing)):
            began = time.perf_counter()
            assert place.bob.get(path.format(**ids)).status_code == 404
            took[name].append(time.perf_counter() - began)
    foreign, missing = (statistics.median(values) for values in took.values())
    assert abs(foreign - missing) < 0.5 * max(foreign, missing) + 0.001


def test_many_at_once_are_not_mistaken_for_each_other(place: Place) -> None:
    """One connection pool, two users at once: each answer is of who asked."""
    seen = threading.Lock()
    wrong: list[str] = []

    def me(name: str) -> None:
        answer = told(place.clients[name].get("/api/v1/auth/me"))
        with seen:
            wrong.extend([name] if answer["user_id"] != name else [])

    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(me, ["alice", "bob"] * 100):
            pass
    assert wrong == []
