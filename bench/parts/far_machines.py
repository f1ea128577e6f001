"""Remote workers as bare as can be: hand-written HTTP over kept connections, many in one process."""

import asyncio
import hashlib
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any
from uuid import uuid4

HEARTBEAT_S = 5.0
POLL_S = 25
OK, CREATED, NOTHING = 200, 201, 204
MARKDOWN = "# Done"
DELIVERY: dict[str, Any] = {
    "sha256": hashlib.sha256(MARKDOWN.encode()).hexdigest(),
    "result": {
        "markdown": MARKDOWN,
        "content_type": "document",
        "media_type": "text/markdown",
        "metadata": {},
        "segments": [],
    },
}

Json = dict[str, Any]


def expect(is_so: bool, told: object) -> None:  # noqa: FBT001 - reads like an assert
    """Raise RuntimeError with what was told instead."""
    if not is_so:
        raise RuntimeError(told)


@dataclass(slots=True)
class Wire:
    """One kept connection to the server, one request at a time."""

    address: tuple[str, int]
    key: str
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def post(self, path: str, body: bytes, *headers: str) -> tuple[int, Any]:
        """Status and JSON of the answer."""
        async with self._turn:
            return await self._post(path, body, headers)

    async def _post(self, path: str, body: bytes, headers: Sequence[str]) -> tuple[int, Any]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self.address)
        reader, writer = self._streams
        host, port = self.address
        start = (f"POST {path} HTTP/1.1", f"Host: {host}:{port}", f"Authorization: Bearer {self.key}")
        head = "\r\n".join([*start, f"Content-Length: {len(body)}", *headers, "", ""])
        writer.write(head.encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = answer.partition("content-length:")[2].partition("\r\n")[0]
        raw = await reader.readexactly(int(length or 0))
        return int(answer.split(" ", 2)[1]), json.loads(raw) if raw else None

    async def tell(self, path: str, message: Json) -> tuple[int, Any]:
        """POST JSON."""
        return await self.post(path, json.dumps(message).encode(), "Content-Type: application/json")


@dataclass(slots=True)
class Machine:
    """One worker: a connection that waits, and one for everything else."""

    polling: Wire
    telling: Wire
    news: Connection
    asked: int = 0
    _path: str = ""

    async def register(self) -> None:
        """Be known to the server."""
        told = {"name": "bench", "version": "1", "type": "remote_gpu", "content_types": ["document"]}
        status, known = await self.telling.tell("/api/v1/workers", {**told, "instance_id": uuid4().hex})
        expect(status == CREATED, known)
        self._path = f"/api/v1/workers/{known['worker_id']}"

    async def work(self) -> None:
        """Wait for leases, tell when each came, and deliver at once."""
        while True:
            self.asked += 1
            claim = {"claim_id": uuid4().hex, "slots": 1, "wait_s": POLL_S}
            status, told = await self.polling.tell(f"{self._path}/claim", claim)
            at = time.monotonic()
            if status == NOTHING:
                continue
            expect(status == OK, told)
            for lease in told["leases"]:
                self.news.send((lease["task_id"], self.polling.key, at))
                message = {"fence": lease["fence"], **DELIVERY}
                status, told = await self.telling.tell(f"/api/v1/attempts/{lease['attempt_id']}/complete", message)
                expect(status == OK, told)

    async def beat(self) -> None:
        """Say every HEARTBEAT_S that it is there."""
        await asyncio.sleep(random.random() * HEARTBEAT_S)  # noqa: S311 - spreads them
        while True:
            self.asked += 1
            status, told = await self.telling.tell(f"{self._path}/heartbeat", {"seq": self.asked})
            expect(status == OK, told)
            await asyncio.sleep(HEARTBEAT_S)


def run(address: tuple[str, int], keys: Sequence[str], news: Connection, *, is_silent: bool) -> None:
    """A process of machines, one for each key named; it says None when all wait, and works until it is ended."""
    machines = [Machine(Wire(address, key), Wire(address, key), news) for key in keys]
    asyncio.run(_run(machines, news, is_silent=is_silent))


async def _run(machines: Sequence[Machine], news: Connection, *, is_silent: bool) -> None:
    async with asyncio.TaskGroup() as group:
        for machine in machines:
            await machine.register()
            group.create_task(machine.work())
            if not is_silent:
                group.create_task(machine.beat())
        news.send(None)
