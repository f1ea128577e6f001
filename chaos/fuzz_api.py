"""Ask a server everything that its own OpenAPI document describes, rightly and wrongly, with every sort of key.

    .venv/bin/python chaos/fuzz_api.py [--requests 10000]

Exits 1 if an answer was a 500, was not as the document says, or did not come.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
from parts.fuzzing import Fuzz, Json

READY = re.compile(r"ready at (http://\S+)")
ROUND = 20
"""Requests to an operation before it is the turn of the next."""
PAGE = b"<html><head><title>A page</title></head><body><main><p>The quoll is nocturnal.</p></main></body></html>"


class Site(BaseHTTPRequestHandler):
    """The only web there is: one page, which takes any POST too."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Keep quiet."""


@contextmanager
def site() -> Generator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def served(variables: dict[str, str], log: Path) -> Generator[str]:
    """A server: its address."""
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "morag", "serve", "--port", "0"],
            env=variables,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        if process.stdout is None:
            raise RuntimeError("no output to read")
        try:
            yield next(found[1] for line in process.stdout if (found := READY.search(line)))
        finally:
            process.terminate()


def first_key(variables: dict[str, str]) -> str:
    command = [sys.executable, "-m", "morag", "keys", "create", "--user", "root", "--scope", "admin"]
    return subprocess.run(command, env=variables, check=True, capture_output=True, text=True).stdout.strip()


def key(admin: httpx2.Client, user_id: str, *scopes: str) -> str:
    return admin.post("/api/v1/auth/keys", json={"user_id": user_id, "scopes": scopes}).json()["key"]


def things(http: httpx2.Client) -> dict[str, list[Json]]:
    """Make a task, a document, and a machine that holds a lease and uploads; parameters and fields that name them."""
    instance = "box-of-the-fuzz"
    machine = {"name": "box", "instance_id": instance, "version": "1", "type": "remote_cpu"}
    worker = http.post("/api/v1/workers", json={**machine, "content_types": ["document"]}).json()["worker_id"]
    note = {"file": ("a.md", b"# Quoll\n\nIt is nocturnal.")}
    ingest = http.post("/api/v1/ingest/file", files=note, data={"document_id": "quoll"}).json()["task_id"]
    while not http.get(f"/api/v1/status/{ingest}").json()["completed_at"]:
        time.sleep(0.05)  # its events are asked for, and they end with it
    asked = {"remote": "true", "fallback_to_local": "false"}
    http.post("/process/file", files=note, data=asked, headers={"Prefer": "wait=0"})
    claim = {"claim_id": "the-first", "slots": 1, "wait_s": 20}
    attempt = http.post(f"/api/v1/workers/{worker}/claim", json=claim).json()["leases"][0]["attempt_id"]
    upload = http.post(f"/api/v1/attempts/{attempt}/uploads", headers={"Upload-Length": "100"}).headers["upload-id"]
    return {
        "task_id": [ingest],
        "document_id": ["quoll"],
        "worker_id": [worker],
        "attempt_id": [attempt],
        "upload_id": [upload],
        "instance_id": [instance],
        "protocol": [1],
        "fence": [1],
        "generation": [0],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=10_000)
    wanted = parser.parse_args().requests
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="morag-fuzz-") as folder, site() as page:
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MORAG_")},
            "MORAG_DATA_DIR": f"{folder}/data",
            "MORAG_LOG_LEVEL": "WARNING",
            "MORAG_WORKERS": "1",
            "MORAG_FETCH_ALLOW": page,
        }
        log = Path(folder) / "log"
        with served(variables, log) as address:
            fuzz = asked(address, variables, f"http://{page}/", wanted)
        return told(fuzz, time.monotonic() - began, log.read_text())


def asked(address: str, variables: dict[str, str], page: str, wanted: int) -> Fuzz:
    """Ask in rounds, each as a new user with things of their own, until as many answers came as are `wanted`."""
    fuzz, rounds = Fuzz(address, page=page), 0
    with client(address, first_key(variables)) as admin:
        while fuzz.tally.total < wanted:
            rounds += 1
            user_id = f"fuzz{rounds}"
            everything = key(admin, user_id, "submit", "worker", "admin")
            single = [key(admin, user_id, scope) for scope in ("submit", "worker", "admin")]
            spare = key(admin, user_id, "submit").split("_")[1]
            wrong = single[0][:-1] + ("0" if single[0][-1] != "0" else "1")
            with client(address, everything) as http:
                known = {"user_id": [user_id], "key_id": [spare], **things(http)}
            fuzz.be([*[everything] * 5, *single, wrong, None], known)
            each = min(ROUND, max((wanted - fuzz.tally.total) // len(fuzz.operations), 2))
            for label in fuzz.operations:
                fuzz.ask(label, each)
        admin.get("/health/ready").raise_for_status()
    fuzz.close()
    return fuzz


def client(address: str, api_key: str) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {api_key}"}
    return httpx2.Client(base_url=address, headers=headers, timeout=60, trust_env=False)


def told(fuzz: Fuzz, took_s: float, log: str) -> int:
    tally = fuzz.tally
    statuses = ", ".join(f"{status}: {n}" for status, n in sorted(tally.statuses.items()))
    print(f"{tally.total} answers of {len(fuzz.operations)} operations in {took_s:.0f} s: {statuses}")
    print(f"slowest: {tally.slowest[0] * 1000:.0f} ms, {tally.slowest[1]}")
    print(f"never done: {', '.join(sorted(fuzz.operations.keys() - tally.done.keys())) or 'none'}")
    for fault, about in tally.faults.items():
        print(f"WRONG {fault}\n    {about}")
    broke = [line for line in log.splitlines() if "request_broke" in line or "unexpected_error" in line]
    for line in broke[:10]:
        print(f"LOG {line}")
    return 1 if tally.faults or broke else 0


if __name__ == "__main__":
    sys.exit(main())
