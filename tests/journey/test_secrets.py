"""One run of everything with secrets that are known here; then every place where text may end up is searched for them.

A key is told once, by the command or answer that makes it, and the secret of webhooks by its own routes alone. The
database holds that secret as bytes, which is what it signs with.
"""

import base64
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from morag.domain.keys import parse_key

pytestmark = pytest.mark.xdist_group("secrets")

END_S = 60.0
NAME, PASSWORD, TOKEN = "quollkeeper", "hunter2-quoll-password", "token-quoll-7c1e"
"""What a URL may be given before its host, and in its query."""
DOWN = "http://127.0.0.1:9/"

Json = dict[str, Any]


@dataclass
class Run:
    """A server that is killed and started again, and all it ever told anybody."""

    folder: Path
    hook: str
    answers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Each request, and the answer with its headers."""
    printed: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Each command, and what it wrote."""
    keys: list[str] = field(default_factory=list[str])
    signing: list[str] = field(default_factory=list[str])
    address: str = ""
    process: "subprocess.Popen[str] | None" = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def variables(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MORAG_")}
        return kept | {
            "MORAG_DATA_DIR": str(self.data),
            "MORAG_LOG_LEVEL": "DEBUG",
            "MORAG_WORKERS": "1",
            "MORAG_FETCH_ALLOW": f"{self.hook},127.0.0.1:9",
            "PYTHONFAULTHANDLER": "1",
        }

    def start(self) -> None:
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "morag", "serve", "--port", "0"],
                env=self.variables,
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout
        for line in self.process.stdout:
            self.printed.append(("serve", line))
            if "ready at " in line:
                self.address = line.split("ready at ")[1].split()[0]
                return
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def end(self, *, gently: bool) -> None:
        assert self.process
        (self.process.terminate if gently else self.process.kill)()
        self.process.wait(30)
        assert self.process.stdout
        self.printed.append(("serve", self.process.stdout.read()))
        self.process.stdout.close()

    def morag(self, *words: str, **more: str) -> str:
        """What a command wrote to its standard output; all it wrote is kept, except a key made."""
        done = subprocess.run(
            [sys.executable, "-m", "morag", *words],
            env=self.variables | {"MORAG_SERVER_URL": self.address} | more,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=END_S,
            check=False,
        )
        makes_key = words[:2] in {("keys", "create"), ("keys", "rotate")} and done.returncode == 0
        if makes_key:
            self.keys.append(json.loads(done.stdout)["key"] if "--json" in words else done.stdout.strip())
        self.printed.append((" ".join(words), done.stderr if makes_key else done.stdout + done.stderr))
        return done.stdout

    def ask(self, method: str, path: str, key: str | None, **sent: Any) -> httpx2.Response:
        """An answer; all of it is kept, except that which makes a key or tells the secret of webhooks."""
        headers = {**({"Authorization": f"Bearer {key}"} if key else {}), **sent.pop("headers", {})}
        with httpx2.Client(base_url=self.address, timeout=END_S, trust_env=False) as client:
            answer = client.request(method, path, headers=headers, **sent)
        told = answer.text
        if answer.status_code == 201 and path.startswith("/api/v1/auth/keys"):
            self.keys.append(answer.json()["key"])
            told = json.dumps({**answer.json(), "key": ""})
        if answer.status_code == 200 and path.startswith("/api/v1/webhooks/secret"):
            self.signing.append(answer.json()["secret"])
            told = ""
        self.answers.append((f"{method} {path}", f"{answer.headers}\n{told}"))
        return answer

    def ended(self, key: str, task_id: str) -> Json:
        return until(
            lambda: (
                found if (found := self.ask("GET", f"/api/v1/status/{task_id}", key).json())["completed_at"] else None
            )
        )


def until(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + END_S
    while not (found := condition()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The run, over, with its server stopped."""
    told: list[bytes] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(self.rfile.read(int(self.headers["content-length"])) + str(self.headers).encode())
            self.send_response(503 if "refusing" in self.path else 204)
            self.end_headers()

        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Keep the test output quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        made = Run(tmp_path_factory.mktemp("canary"), f"127.0.0.1:{server.server_port}")
        made.start()
        try:
            live(made)
        finally:
            made.end(gently=True)
        made.answers += [("webhook", each.decode()) for each in told]
        yield made
        server.shutdown()
        thread.join()


def live(run: Run) -> None:
    """What a day may bring, bad and good."""
    admin = make_keys(run)
    submit, worker = run.keys[1], run.keys[2]
    use(run, submit)
    misuse(run, submit, worker, admin)
    fetch(run, submit)
    run.end(gently=False)
    run.start()
    use(run, submit)
    look_around(run, submit, admin)


def make_keys(run: Run) -> str:
    """Keys by the command and over HTTP, some of them rotated and revoked: an admin's."""
    for scope in ("admin", "submit", "worker"):
        run.morag("keys", "create", "--user", "alice", "--scope", scope)
    admin = run.keys[0]
    made = [run.ask("POST", "/api/v1/auth/keys", admin, json={"user_id": "bob"}).json()["key_id"] for _ in "ab"]
    run.ask("POST", f"/api/v1/auth/keys/{made[0]}/rotate", admin)
    run.morag("keys", "rotate", made[0], "--json")
    run.ask("DELETE", f"/api/v1/auth/keys/{made[0]}", admin)
    run.morag("keys", "revoke", made[1])
    run.morag("keys", "list")
    return admin


def use(run: Run, submit: str) -> None:
    """Conversions and ingests that work and that fail, told to receivers that answer, refuse, and are not there."""
    run.ask("GET", "/api/v1/webhooks/secret", submit)
    run.ask("POST", "/api/v1/webhooks/secret/rotate", submit)
    note = {"file": ("note.md", b"# A note\n\nThe quoll is nocturnal.")}
    broken = {"file": ("broken.pdf", b"%PDF-1.7 and then nothing")}
    tasks: list[str] = []
    for number, (files, hook) in enumerate(
        (
            (note, f"http://{run.hook}/hook"),
            (note, f"http://{run.hook}/refusing"),
            (broken, f"http://{run.hook}/hook"),
            (note, DOWN),
        )
    ):
        fields = {"webhook_url": hook, "metadata": json.dumps({"n": number})}
        answer = run.ask("POST", "/api/v1/ingest/file", submit, files=files, data=fields)
        tasks.append(answer.json()["task_id"])
    for task_id in tasks:
        run.ended(submit, task_id)
        run.ask("GET", f"/api/v1/status/{task_id}/history", submit)
        run.ask("GET", f"/api/v1/status/{task_id}/events", submit)

    def all_tried() -> bool:
        deliveries = run.ask("GET", "/api/v1/webhooks/deliveries", submit).json()["deliveries"]
        return {each["task_id"] for each in deliveries if each["tries"]} >= set(tasks)

    until(all_tried)
    run.ask("POST", "/process/file", submit, files=broken)
    run.ask("POST", "/search", submit, json={"query": "quoll"})


def misuse(run: Run, submit: str, worker: str, admin: str) -> None:
    """Keys that are wrong, ended, without the scope, in the wrong place; requests that cannot be."""
    changed = submit[:-8] + ("0" if submit[-8] != "0" else "1") + submit[-7:]
    for key in (run.keys[3], run.keys[4], changed, submit + "x", f"{submit} {submit}", worker):
        for path in ("/api/v1/status/", "/metrics", "/health/ready"):
            run.ask("GET", path, key)
        run.ask("POST", "/process/file", key, files={"file": ("a.txt", b"x")})
    for place in ({"X-API-Key": submit[:-1]}, {"Authorization": f"Basic {submit}"}, {"Cookie": f"key={submit}"}):
        run.ask("GET", "/api/v1/status/", None, headers=place)
    run.ask("POST", "/search", submit, json={"query": "", "key": 1})
    run.ask("POST", "/process/url", submit, content=b"{", headers={"Content-Type": "application/json"})
    run.ask("GET", "/api/v1/auth/keys", submit)
    run.ask("POST", "/api/v1/auth/keys", admin, json={"user_id": "bob", "description": submit})
    run.morag("status", MORAG_API_KEY=changed)
    run.morag("status", MORAG_API_KEY=submit, MORAG_SERVER_URL="http://127.0.0.1:9")
    run.morag("keys", "revoke", submit)
    run.morag("keys", "create", "--user", "bob", "--description", submit)


def fetch(run: Run, submit: str) -> None:
    """URLs with a name and password are refused at once; those with a token in the query fail on their way."""
    for path in ("/process/url", "/process/web", "/api/v1/ingest/url"):
        for url in (f"http://{NAME}:{PASSWORD}@{run.hook}/", f"https://{NAME}:{PASSWORD}@example.org:0/{TOKEN}"):
            run.ask("POST", path, submit, json={"url": url})
    for field_name in ("url", "webhook_url"):
        body = {"url": f"http://{run.hook}/", field_name: f"http://{NAME}:{PASSWORD}@{run.hook}/"}
        run.ask("POST", "/api/v1/ingest/url", submit, json=body)
    for where, wait_s in ((DOWN, 1), (f"http://{run.hook}/", 30)):
        headers = {"Prefer": f"wait={wait_s}"}  # who is not there is tried again for long
        run.ask("POST", "/process/url", submit, json={"url": f"{where}?token={TOKEN}"}, headers=headers)
    run.morag("process", f"http://{NAME}:{PASSWORD}@{run.hook}/", MORAG_API_KEY=submit)
    run.morag("process", f"{DOWN}?token={TOKEN}", MORAG_API_KEY=submit)


def look_around(run: Run, submit: str, admin: str) -> None:
    """Everything that lists or counts."""
    for path in ("/api/v1/status/", "/api/v1/documents", "/api/v1/webhooks/deliveries", "/api/v1/auth/me"):
        run.ask("GET", path, submit)
    for path in ("/metrics", "/api/v1/auth/keys", "/api/v1/status/stats/queues", "/openapi.json", "/docs"):
        run.ask("GET", path, admin)
    run.morag("keys", "list", "--json")
    run.morag("search", "quoll", "--json", MORAG_API_KEY=submit)
    run.morag("doctor", MORAG_API_KEY=submit, MORAG_SERVER_URL=f"http://{NAME}:{PASSWORD}@127.0.0.1:9")


def canaries(run: Run) -> dict[str, str]:
    """What is looked for, and what it is called in a failure. Each key whole, and its secret alone."""
    found: dict[str, str] = {}
    for number, key in enumerate(run.keys):
        presented = parse_key(key)
        assert presented, f"key {number} was not caught"
        found |= {key: f"key {number}", presented.secret: f"the secret of key {number}"}
    for number, secret in enumerate(run.signing):
        found |= {
            secret: f"webhook secret {number}",
            secret.removeprefix("whsec_"): f"webhook secret {number} in base64",
        }
    return {**found, PASSWORD: "the password of a URL", NAME: "the name of a URL"}


def seen(run: Run, text: str, *more: str) -> set[str]:
    return {name for secret, name in {**canaries(run), **{each: each for each in more}}.items() if secret in text}


def test_the_run_had_secrets_to_lose(run: Run) -> None:
    assert len(run.keys) >= 7
    assert len(run.signing) == 4
    assert any("webhook-signature" in told for name, told in run.answers if name == "webhook")
    told = "".join(text for name, text in run.answers if name == "POST /process/url")
    assert "The URL contains credentials." in told
    assert "404" in told


def test_no_log_holds_a_secret(run: Run) -> None:
    log = (run.folder / "log").read_text()
    assert '"level": "debug"' in log or "webhook_given_up" in log or "attempt_ended" in log
    assert seen(run, log, TOKEN) == set()


def test_nothing_printed_holds_a_secret(run: Run) -> None:
    told = {name: found for name, text in run.printed if (found := seen(run, text))}
    assert told == {}


def test_no_answer_and_no_webhook_holds_a_secret(run: Run) -> None:
    told = {name: found for name, text in run.answers if (found := seen(run, text))}
    assert told == {}


def test_no_error_holds_the_query_of_a_url(run: Run) -> None:
    told = [name for name, text in run.answers if "application/problem+json" in text and TOKEN in text]
    assert told == []


def test_no_text_of_the_database_holds_a_secret(run: Run) -> None:
    told: set[tuple[str, str, str]] = set()
    with sqlite3.connect(f"file:{run.data / 'morag.db'}?mode=ro", uri=True) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            cursor = database.execute(f'SELECT * FROM "{table}"')  # noqa: S608 - its own names
            names = [column[0] for column in cursor.description]
            for row in cursor:
                for name, value in zip(names, row, strict=True):
                    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
                    told |= {(table, name, found) for found in seen(run, text)}
                    if TOKEN in text:
                        told |= {(table, name, TOKEN)} - {("tasks", "args", TOKEN)}
    database.close()
    assert "tasks" in tables
    assert told == set()


def test_no_file_holds_a_secret_not_even_the_pages_of_the_database(run: Run) -> None:
    files = [path for path in run.folder.rglob("*") if path.is_file()]
    assert run.data / "morag.db" in files
    told = {str(path): found for path in files if (found := seen(run, path.read_bytes().decode("latin-1")))}
    assert told == {}


def test_the_signing_secret_is_in_the_database_as_bytes_only(run: Run) -> None:
    raw = base64.b64decode(run.signing[-1].removeprefix("whsec_"))
    holding = [path.name for path in run.data.rglob("*") if path.is_file() and raw in path.read_bytes()]
    assert set(holding) <= {"morag.db", "morag.db-wal"}
    assert holding
