"""A TCP line that does to what passes what bad networks do, as a test tells it to.

client ─▶ proxy ─(delay, throttle)─▶ server     whole, silent (half-open) or cut; reset every so often; bytes counted
       ◀─(delay, throttle)─

It runs in a thread with a loop of its own; everything public may be called from any other thread.
"""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

BLOCK_BYTES = 65_536
IN_FLIGHT = 64
"""Blocks on their way at most in one direction, as a window of TCP has it."""
RETRANSMIT_S = 0.2
"""How much later a block comes that was lost: TCP sends it again, and what follows waits for it."""
RESET = struct.pack("ii", 1, 0)


@dataclass(kw_only=True)
class Faults:
    """How bad the line is. May be changed while it is in use."""

    latency_s: float = 0.0
    """One way."""
    bytes_per_s: float = 0.0
    """Of each connection in each direction; 0: as fast as it goes."""
    loss: float = 0.0
    """Share of blocks that come RETRANSMIT_S later."""
    reset_every_s: float = 0.0
    """All connections at once; 0: never."""


@dataclass(kw_only=True)
class Passed:
    """What the line has seen so far."""

    to_server_bytes: int = 0
    """Received from clients, whether or not it got to the server."""
    to_client_bytes: int = 0
    connections: int = 0
    resets: int = 0
    """Connections that were broken by the line."""
    recorded: list[bytes] = field(default_factory=list[bytes])


@dataclass(eq=False)
class _Connection:
    """One client's, and its other half to the server."""

    ends: list[asyncio.StreamWriter]
    is_dead: bool = False
    """Nothing passes any more, and nobody is told."""

    def reset(self) -> None:
        """End it as a router does that forgot about it."""
        for end in self.ends:
            made: socket.socket | None = end.get_extra_info("socket")
            with contextlib.suppress(OSError):
                if made:
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            end.transport.abort()


class FaultyProxy:
    """Listens on a free port of this machine and passes on to another. Use as a context manager."""

    def __init__(self, to_port: int, *, records: bool = False, **faults: float) -> None:
        """Pass on to `to_port`; keep a copy of all bytes if it `records`; `faults` are those of Faults."""
        self.faults, self.passed = Faults(**faults), Passed()
        self.port = 0
        self._to_port, self._records = to_port, records
        self._is_cut = self._is_silent = False
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self._chance = random.Random(1)  # noqa: S311 - picks what is lost, no secret

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
        self._loop.close()

    @property
    def address(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Break what there is, and take nothing new, until `mend`."""
        self._do(lambda: self._be(is_cut=True, is_silent=False))

    def silence(self) -> None:
        """Half-open: what there is stays open and is dead for good; what comes is accepted and never answered."""
        self._do(lambda: self._be(is_cut=False, is_silent=True))

    def mend(self) -> None:
        """Let new connections pass again."""
        self._do(lambda: self._be(is_cut=False, is_silent=False))

    def asked(self, words: bytes) -> int:
        """How often a line that records has seen these words begin or go on a request."""
        return sum(words in each for each in self.passed.recorded)

    def _do(self, act: Callable[[], None]) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (act(), done.set()))
        assert done.wait(10)

    def _be(self, *, is_cut: bool, is_silent: bool) -> None:
        self._is_cut, self._is_silent = is_cut, is_silent
        if is_cut:
            self._reset_all()
        for connection in self._connections if is_silent else ():
            connection.is_dead = True

    def _reset_all(self) -> None:
        for connection in list(self._connections):
            self.passed.resets += 1
            connection.reset()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        resetting = asyncio.create_task(self._reset_now_and_then())
        self._ready.set()
        await self._over.wait()
        server.close()
        self._reset_all()
        for task in (resetting, *self._tasks):
            task.cancel()
        await asyncio.gather(resetting, *self._tasks, return_exceptions=True)
        for writer in self._writers:  # also of those that were never begun
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _reset_now_and_then(self) -> None:
        waited_s = 0.0
        while True:
            await asyncio.sleep(0.1)
            waited_s += 0.1
            if self.faults.reset_every_s and waited_s >= self.faults.reset_every_s:
                waited_s = 0.0
                self._reset_all()

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection([writer], is_dead=self._is_silent)
        self.passed.connections += 1
        if self._is_cut:
            connection.reset()
            return
        self._connections.add(connection)
        try:
            await self._pass_on(connection, reader, writer)
        except OSError:
            pass  # one of the two ends broke it, so the other is broken too, below
        finally:
            self._connections.discard(connection)
            connection.reset()

    async def _pass_on(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        connection.ends.append(far_writer)
        self._writers.append(far_writer)
        ways = {
            asyncio.create_task(self._way(connection, reader, far_writer, is_to_server=True)),
            asyncio.create_task(self._way(connection, far_reader, writer, is_to_server=False)),
        }
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            for each in ways:
                each.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _way(
        self, connection: _Connection, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, is_to_server: bool
    ) -> None:
        """One direction: what is read is due a little later, and written in order."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(IN_FLIGHT)
        writing = asyncio.create_task(self._write(connection, under_way, target))
        try:
            while data := await source.read(BLOCK_BYTES):
                self._count(data, is_to_server=is_to_server)
                late_s = RETRANSMIT_S if self._chance.random() < self.faults.loss else 0.0
                await under_way.put((self._loop.time() + self.faults.latency_s + late_s, data))
                if self.faults.bytes_per_s:
                    await asyncio.sleep(len(data) / self.faults.bytes_per_s)
            await under_way.put((self._loop.time() + self.faults.latency_s, b""))
            await writing
        finally:
            writing.cancel()

    async def _write(
        self, connection: _Connection, under_way: "asyncio.Queue[tuple[float, bytes]]", target: asyncio.StreamWriter
    ) -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            if connection.is_dead:
                continue  # swallowed, its end too: neither side hears of the other again
            if not data:
                return
            target.write(data)
            await target.drain()

    def _count(self, data: bytes, *, is_to_server: bool) -> None:
        if is_to_server:
            self.passed.to_server_bytes += len(data)
        else:
            self.passed.to_client_bytes += len(data)
        if self._records:
            self.passed.recorded.append(data)
