"""A server with Alice, Bob and an administrator, the keys anybody could try, and how Alice comes by her things."""

import asyncio
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx2

from morag.bootstrap.users import opened_keys
from morag.control.auth import APIKeyService
from morag.domain.identity import Scope
from morag.domain.keys import key_text
from morag.settings import Settings

Json = dict[str, Any]

END_S = 60.0
SECRET = "petrelwort"  # noqa: S105 - a word that stands in Alice's documents alone
UNKNOWN_KEY = key_text("zzzzzzzzzzzz", "s" * 43)
LIVE: dict[str, tuple[str, set[Scope]]] = {
    "alice": ("alice", {Scope.SUBMIT, Scope.WORKER}),
    "alice submit": ("alice", {Scope.SUBMIT}),
    "alice worker": ("alice", {Scope.WORKER}),
    "alice admin": ("alice", {Scope.ADMIN}),
    "bob": ("bob", {Scope.SUBMIT, Scope.WORKER}),
    "admin": ("root", {Scope.ADMIN}),
    "admin with everything": ("root", set(Scope)),
}
ENDED = ("revoked", "expired")


@dataclass(slots=True)
class Place:
    """The server, a client for each key, and the ids that nobody but Alice may be told."""

    address: str
    site: str
    keys: dict[str, str]
    clients: dict[str, httpx2.Client] = field(default_factory=dict[str, httpx2.Client])
    marks: set[str] = field(default_factory=lambda: {SECRET})
    worker: Json = field(default_factory=dict[str, Any])
    diary: str = ""
    """A document of hers that nothing changes."""

    def __post_init__(self) -> None:
        for name, key in {"none": "", "malformed": "mrg_nonsense", "unknown": UNKNOWN_KEY, **self.keys}.items():
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            self.clients[name] = httpx2.Client(base_url=self.address, headers=headers, timeout=END_S, trust_env=False)
        self.worker = self.register("alice")
        self.marks.add(self.worker["worker_id"])
        self.diary = self.document()

    @property
    def alice(self) -> httpx2.Client:
        return self.clients["alice"]

    @property
    def bob(self) -> httpx2.Client:
        return self.clients["bob"]

    def close(self) -> None:
        for client in self.clients.values():
            client.close()

    def register(self, name: str, instance_id: str = "") -> Json:
        """A machine of a user's."""
        body = {
            "name": f"{name}'s box",
            "instance_id": instance_id or uuid.uuid4().hex,
            "version": "test",
            "type": "remote_gpu",
            "content_types": ["document"],
            "slots": 64,
        }
        return told(self.clients[name].post("/api/v1/workers", json=body), 201)

    def ingest(self, text: str = "", *, name: str = "alice", **fields: str) -> str:
        """Submit a note; its task."""
        body = text or f"# Note\n\nOf {uuid.uuid4().hex}.\n"
        files = {"file": (f"{uuid.uuid4().hex}.md", body.encode())}
        task_id = told(self.clients[name].post("/api/v1/ingest/file", files=files, data=fields), 202)["task_id"]
        if name == "alice":
            self.marks.add(task_id)
        return task_id

    def document(self) -> str:
        """A stored document of Alice's."""
        document_id = f"diary-{uuid.uuid4().hex}"
        done = self.ended(self.ingest(f"# Diary\n\nThe {SECRET} was in flower.\n", document_id=document_id))
        assert done["status"] == "completed", done
        self.marks.add(document_id)
        return document_id

    def waiting(self) -> str:
        """A task of Alice's that has not ended: it is for a machine of hers."""
        return self.ingest(remote="true", fallback_to_local="false")

    def upload(self) -> str:
        """A file that Alice handed in ahead of time."""
        answer = self.alice.post("/api/v1/uploads", files={"file": ("a.md", b"# Ahead\n\nOf time.\n")})
        upload_id = told(answer, 201)["upload_id"]
        self.marks.add(upload_id)
        return upload_id

    def job(self) -> str:
        """A conversion that Alice asked of her own machines."""
        body = {"upload_id": self.upload(), "content_type": "document"}
        job_id = told(self.alice.post("/api/v1/remote-jobs/", json=body))["job_id"]
        self.marks.add(job_id)
        return job_id

    def lease(self, of: str | None = None) -> Json:
        """A lease of Alice's machine, of a task of hers, or of the one named."""
        if of is None:
            self.waiting()
        until = time.monotonic() + END_S
        while time.monotonic() < until:
            body = {"claim_id": uuid.uuid4().hex, "slots": 1, "wait_s": 5}
            answer = self.alice.post(f"/api/v1/workers/{self.worker['worker_id']}/claim", json=body)
            granted: list[Json] = [] if answer.status_code == 204 else told(answer)["leases"]
            for lease in granted:
                self.marks |= {lease["attempt_id"], lease["task_id"]}
                if of in {None, lease["task_id"]}:
                    return lease
        raise AssertionError(f"{of} was never granted")

    def partial(self, lease: Json) -> str:
        """An upload that Alice's machine began."""
        headers = {"Upload-Length": "10", "Tus-Resumable": "1.0.0"}
        answer = self.alice.post(f"/api/v1/attempts/{lease['attempt_id']}/uploads", headers=headers)
        assert answer.status_code == 201, answer.text
        self.marks.add(answer.headers["Upload-Id"])
        return answer.headers["Upload-Id"]

    def ended(self, task_id: str, name: str = "alice") -> Json:
        until = time.monotonic() + END_S
        while time.monotonic() < until:
            status = told(self.clients[name].get(f"/api/v1/status/{task_id}"))
            if status["completed_at"]:
                return status
            time.sleep(0.01)
        raise AssertionError(f"{task_id} did not end")

    def marks_in(self, text: str) -> set[str]:
        """What a text tells of Alice's things."""
        return {mark for mark in self.marks if mark in text}


def told(answer: httpx2.Response, status: int = 200) -> Json:
    assert answer.status_code == status, answer.text
    return answer.json()


def make_keys(data_dir: str) -> dict[str, str]:
    """A key for each name of LIVE, and those that have ended; made in the store of the server."""

    async def make() -> dict[str, str]:
        async with opened_keys(Settings.model_validate({"data_dir": data_dir})) as keys:
            made = {name: await _key(keys, user, scopes) for name, (user, scopes) in LIVE.items()}
            revoked = await keys.issue("alice", scopes=set(Scope))
            await keys.revoke_api_key(revoked.key.id)
            expired = await keys.issue("alice", scopes=set(Scope), expires_days=1e-9)
            return {**made, "revoked": revoked.text, "expired": expired.text}

    return asyncio.run(make())


async def _key(keys: APIKeyService, user: str, scopes: Iterable[Scope]) -> str:
    return (await keys.issue(user, scopes=frozenset(scopes))).text
