"""For each route: who may ask it, how Alice asks it validly, and what that means for everybody else."""

import base64
import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.journey.isolation.place import SECRET, Place

from morag.domain.identity import Scope

SUBMIT, WORKER, ADMIN = Scope.SUBMIT, Scope.WORKER, Scope.ADMIN

Route = tuple[str, str]
"""Method and path pattern."""
Kind = Literal["thing", "own", "admin", "everybody", "operator"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A valid request: `ids` fill the path or stand in the body, `missing` are their like that nobody has."""

    ids: dict[str, str] = field(default_factory=dict[str, str])
    missing: dict[str, str] = field(default_factory=dict[str, str])
    body: Callable[[dict[str, str]], dict[str, Any]] = lambda _ids: {}
    """What is sent, for some ids: arguments of the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One route. `thing`: it names something of Alice's; `own`: it tells or makes what is the caller's."""

    scopes: frozenset[Scope]
    kind: Kind
    ask: Callable[[Place], Ask]
    stale: Callable[[dict[str, Any], str], Ask] | None = None
    """The request of a holder whose lease is over; given that lease, and an upload begun under it."""
    settles: bool = False
    """Whether it decides what becomes of the task, which a holder whose lease is over must not."""


def plain(**sent: Any) -> Callable[[Place], Ask]:
    """A request that names nothing."""
    return lambda _place: Ask(body=lambda _ids: sent)


def other(text: str) -> str:
    """An id of the same make that nobody has."""
    return f"{text[:-4]}{'0000' if text[-4:] != '0000' else '1111'}"


def named(
    name: str, get: Callable[[Place], str], body: Callable[[dict[str, str]], dict[str, Any]] | None = None
) -> Any:
    """A request that names one thing of Alice's."""

    def ask(place: Place) -> Ask:
        found = get(place)
        return Ask(ids={name: found}, missing={name: other(found)}, body=body or (lambda _ids: {}))

    return ask


def owned(ask: Callable[[Place], Ask], *scopes: Scope) -> Row:
    return Row(scopes=frozenset(scopes or (SUBMIT,)), kind="thing", ask=ask)


def own(ask: Callable[[Place], Ask], *scopes: Scope) -> Row:
    return Row(scopes=frozenset(scopes or (SUBMIT,)), kind="own", ask=ask)


def diary(place: Place) -> str:
    return place.diary


def ended(place: Place) -> str:
    task_id = place.ingest()
    place.ended(task_id)
    return task_id


def ended_job(place: Place) -> str:
    job_id = place.job()
    place.alice.post(f"/api/v1/remote-jobs/{job_id}/cancel")
    return job_id


def worker(place: Place) -> str:
    return place.worker["worker_id"]


def idle_worker(place: Place) -> str:
    worker_id = place.register("alice")["worker_id"]
    place.marks.add(worker_id)
    return worker_id


def note() -> dict[str, Any]:
    return {"files": {"file": ("note.md", f"# A\n\nOf {uuid.uuid4().hex}.".encode())}}


def uploading() -> Callable[[Place], Ask]:
    return lambda _place: Ask(body=lambda _ids: note())


def fetching(*more: str) -> Callable[[Place], Ask]:
    def ask(place: Place) -> Ask:
        item = {"url": f"{place.site}/page"}
        return Ask(body=lambda _ids: {"json": {"items": [item]} if more else item, "headers": {"Prefer": "wait=0"}})

    return ask


YOUTUBE = plain(json={"url": "https://www.youtube.com/watch?v=dQw4w9WgXcQ"}, headers={"Prefer": "wait=0"})
SEARCH = plain(json={"query": f"{SECRET} flower"})
BEAT: dict[str, Any] = {"seq": 1, "leases": []}
PIECE = b"0123456789"
MARKDOWN = "# From far\n\nIt was made elsewhere."
DELIVERY: dict[str, Any] = {
    "result": {
        "markdown": MARKDOWN,
        "content_type": "document",
        "media_type": "text/markdown",
        "metadata": {},
        "segments": [{"text_start": 0, "text_end": len(MARKDOWN)}],
    },
    "sha256": hashlib.sha256(MARKDOWN.encode()).hexdigest(),
}


def registering(_place: Place) -> Ask:
    machine = {"name": "box", "version": "test", "type": "remote_cpu", "content_types": ["image"]}
    return Ask(body=lambda _ids: {"json": {**machine, "instance_id": uuid.uuid4().hex}})


def attempt(
    body: Callable[[int], dict[str, Any]] | None = None, *, with_upload: bool = False, settles: bool = False
) -> Row:
    """A route of one grant; `body` is given the fence."""

    def of(lease: dict[str, Any], upload_id: str) -> Ask:
        ids = {"attempt_id": lease["attempt_id"], **({"upload_id": upload_id} if with_upload else {})}
        # what nobody has: another task's grant of the same number, and the same upload of it
        missing = {**ids, "attempt_id": f"{other(lease['task_id'])}.{lease['fence']}"}
        return Ask(ids=ids, missing=missing, body=lambda _ids: body(lease["fence"]) if body else {})

    def ask(place: Place) -> Ask:
        lease = place.lease()
        return of(lease, place.partial(lease) if with_upload else "")

    return Row(scopes=frozenset({WORKER}), kind="thing", ask=ask, stale=of, settles=settles)


def claim(_ids: dict[str, str]) -> dict[str, Any]:
    return {"json": {"claim_id": uuid.uuid4().hex, "slots": 1, "wait_s": 0}}


def piece(_fence: int) -> dict[str, Any]:
    digest = base64.b64encode(hashlib.sha1(PIECE).digest()).decode()  # noqa: S324 - tus has it so
    headers = {"Upload-Offset": "0", "Upload-Checksum": f"sha1 {digest}"}
    return {"content": PIECE, "headers": {**headers, "Content-Type": "application/offset+octet-stream"}}


def fresh_key(place: Place) -> str:
    answer = place.clients["admin"].post("/api/v1/auth/keys", json={"user_id": "alice", "scopes": ["submit"]})
    place.marks.add(answer.json()["key_id"])
    return answer.json()["key_id"]


def job_body(ids: dict[str, str]) -> dict[str, Any]:
    return {"json": {"upload_id": ids["upload_id"], "content_type": "document"}}


def of_admin(ask: Callable[[Place], Ask]) -> Row:
    return Row(scopes=frozenset({ADMIN}), kind="admin", ask=ask)


OPEN = Row(scopes=frozenset(), kind="everybody", ask=plain())

ROWS: dict[Route, Row] = {
    ("POST", "/process/file"): own(uploading()),
    ("POST", "/process/url"): own(fetching()),
    ("POST", "/process/web"): own(fetching()),
    ("POST", "/process/youtube"): own(YOUTUBE),
    ("POST", "/process/batch"): own(fetching("items")),
    ("POST", "/api/v1/ingest/file"): own(uploading()),
    ("POST", "/api/v1/ingest/url"): own(fetching()),
    ("POST", "/api/v1/ingest/batch"): own(fetching("items")),
    ("DELETE", "/api/v1/ingest/{task_id}"): owned(named("task_id", Place.waiting)),
    ("GET", "/api/v1/status"): own(plain()),
    ("GET", "/api/v1/status/"): own(plain()),
    ("GET", "/api/v1/status/workers"): own(plain(), SUBMIT, ADMIN),
    ("GET", "/api/v1/status/stats/queues"): own(plain(), SUBMIT, ADMIN),
    ("GET", "/api/v1/status/{task_id}"): owned(named("task_id", ended)),
    ("GET", "/api/v1/status/{task_id}/history"): owned(named("task_id", ended)),
    ("GET", "/api/v1/status/{task_id}/events"): owned(named("task_id", ended)),
    ("GET", "/api/tasks/{task_id}/status"): owned(named("task_id", Place.waiting)),
    ("POST", "/api/tasks/{task_id}/cancel"): owned(named("task_id", Place.waiting)),
    ("GET", "/api/v1/documents"): own(plain()),
    ("GET", "/api/v1/documents/"): own(plain()),
    ("GET", "/api/v1/documents/{document_id}"): owned(named("document_id", diary)),
    ("GET", "/api/v1/documents/{document_id}/markdown"): owned(named("document_id", diary)),
    ("DELETE", "/api/v1/documents/{document_id}"): owned(named("document_id", Place.document)),
    ("POST", "/search"): own(SEARCH),
    ("POST", "/api/v1/search"): own(SEARCH),
    ("POST", "/api/v1/uploads"): own(uploading()),
    ("POST", "/api/v1/uploads/"): own(uploading()),
    ("POST", "/api/v1/remote-jobs"): owned(named("upload_id", Place.upload, job_body)),
    ("POST", "/api/v1/remote-jobs/"): owned(named("upload_id", Place.upload, job_body)),
    ("GET", "/api/v1/remote-jobs/{job_id}/status"): owned(named("job_id", Place.job)),
    ("POST", "/api/v1/remote-jobs/{job_id}/cancel"): owned(named("job_id", Place.job)),
    ("POST", "/api/v1/remote-jobs/{job_id}/retry"): owned(named("job_id", ended_job)),
    ("GET", "/api/v1/webhooks/secret"): own(plain()),
    ("POST", "/api/v1/webhooks/secret/rotate"): own(plain()),
    ("POST", "/api/v1/webhooks/rotate"): own(plain()),
    ("GET", "/api/v1/webhooks/deliveries"): own(plain()),
    ("POST", "/api/v1/workers"): own(registering, WORKER),
    ("POST", "/api/v1/workers/"): own(registering, WORKER),
    ("POST", "/api/v1/workers/{worker_id}/claim"): owned(named("worker_id", worker, claim), WORKER),
    ("POST", "/api/v1/workers/{worker_id}/heartbeat"): owned(
        named("worker_id", worker, lambda _ids: {"json": BEAT}), WORKER
    ),
    ("POST", "/api/v1/workers/{worker_id}/drain"): owned(named("worker_id", idle_worker), SUBMIT, WORKER),
    ("POST", "/api/v1/workers/{worker_id}/pause"): owned(named("worker_id", idle_worker), SUBMIT, WORKER),
    ("POST", "/api/v1/workers/{worker_id}/resume"): owned(named("worker_id", idle_worker), SUBMIT, WORKER),
    ("DELETE", "/api/v1/workers/{worker_id}"): owned(named("worker_id", idle_worker), SUBMIT, WORKER),
    ("GET", "/api/v1/attempts/{attempt_id}/source"): attempt(),
    ("POST", "/api/v1/attempts/{attempt_id}/uploads"): attempt(lambda _fence: {"headers": {"Upload-Length": "10"}}),
    ("HEAD", "/api/v1/attempts/{attempt_id}/uploads/{upload_id}"): attempt(with_upload=True),
    ("PATCH", "/api/v1/attempts/{attempt_id}/uploads/{upload_id}"): attempt(piece, with_upload=True),
    ("POST", "/api/v1/attempts/{attempt_id}/complete"): attempt(
        lambda fence: {"json": {"fence": fence, **DELIVERY}}, settles=True
    ),
    ("POST", "/api/v1/attempts/{attempt_id}/fail"): attempt(
        lambda fence: {"json": {"fence": fence, "failure_type": "processing_error", "is_final": True}}, settles=True
    ),
    ("POST", "/api/v1/attempts/{attempt_id}/release"): attempt(lambda fence: {"json": {"fence": fence}}, settles=True),
    ("GET", "/api/v1/auth/me"): own(plain(), SUBMIT, WORKER, ADMIN),
    ("GET", "/api/v1/auth/keys"): of_admin(plain()),
    ("POST", "/api/v1/auth/keys"): of_admin(plain(json={"user_id": "cora", "scopes": ["submit"]})),
    ("DELETE", "/api/v1/auth/keys/{key_id}"): of_admin(named("key_id", fresh_key)),
    ("POST", "/api/v1/auth/keys/{key_id}/rotate"): of_admin(named("key_id", fresh_key)),
    ("GET", "/health/live"): OPEN,
    ("HEAD", "/health/live"): OPEN,
    ("GET", "/health/ready"): OPEN,
    ("HEAD", "/health/ready"): OPEN,
    ("GET", "/openapi.json"): OPEN,
    ("GET", "/docs"): OPEN,
    ("GET", "/docs/{part}"): Row(
        scopes=frozenset(), kind="everybody", ask=lambda _place: Ask(ids={"part": "swagger-ui.css"})
    ),
    ("GET", "/metrics"): Row(scopes=frozenset({ADMIN}), kind="operator", ask=plain()),
}
