"""P9: a source of 1 GiB to a remote worker, beside a bare `sendfile` server on loopback; the server's memory meanwhile.

    .venv/bin/python bench/source_download.py [--mib N]

The source is a file handed in over HTTP, claimed by a worker, and read by it in blocks that are thrown away. The bare
server is a process that answers with the same bytes from the same kind of file. Best of three runs each, in turns.
"""

import argparse
import asyncio
import json
import multiprocessing as mp
import os
import socket
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast
from uuid import uuid4

import psutil
from long_polls import keys_of, serving
from parts.far_machines import CREATED, OK, Wire, expect

from morag.telemetry import configure

MIB = 1024**2
RUNS = 3
BLOCK = MIB


def make(path: Path, mib: int) -> None:
    """A file that is text by its first bytes and fills the disk for real."""
    line = b"The keeper writes down the weather every evening. " * 21_000
    with path.open("wb") as file:
        file.write(b"# Log\n\n")
        for _ in range(mib):
            file.write(line[:MIB])


def received(connection: socket.socket) -> int:
    """Bytes of a body that ends as Content-Length says, thrown away."""
    buffer = memoryview(bytearray(BLOCK))
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(65536)
        expect(bool(more), head)
        head += more
    told, _, rest = head.partition(b"\r\n\r\n")
    expect(b" 200 " in told.split(b"\r\n")[0], told)
    length = int(told.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    got = len(rest)
    while got < length:
        n = connection.recv_into(buffer)
        expect(n > 0, f"it ended after {got} bytes")
        got += n
    return got


def timed(address: tuple[str, int], path: str, key: str) -> float:
    """Bytes a second of one download."""
    with socket.create_connection(address) as connection:
        began = time.perf_counter()
        head = f"GET {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nAuthorization: Bearer {key}\r\n\r\n"
        connection.sendall(head.encode())
        return received(connection) / (time.perf_counter() - began)


def answer(path: Path, news: Connection) -> None:
    """Send the file to whoever connects; the port is told first."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        news.send(listening.getsockname()[1])
        while True:
            connection, _ = listening.accept()
            with connection, path.open("rb") as file:
                connection.recv(65536)
                size = path.stat().st_size
                connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
                connection.sendfile(file)


@contextmanager
def bare(path: Path) -> Generator[tuple[str, int]]:
    """A process that does nothing but `sendfile`: its address."""
    context = mp.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=answer, args=(path, theirs))
    process.start()
    try:
        yield ("127.0.0.1", ours.recv())
    finally:
        process.terminate()
        process.join()


class Watch:
    """The most memory a process had while one looked."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._is_over = threading.Event()
        self.most = self.began = process.memory_info().rss
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._is_over.wait(0.01):
            self.most = max(self.most, self._process.memory_info().rss)

    def grown_mib(self) -> float:
        """MiB above what it began with; the look is over."""
        self._is_over.set()
        self._thread.join()
        return (self.most - self.began) / MIB


async def claimed(address: tuple[str, int], key: str, path: Path) -> str:
    """The path of the source of a task that is claimed."""
    upload_id = await asyncio.to_thread(uploaded, address, key, path)
    wire = Wire(address, key)
    machine = {"name": "bench", "version": "1", "type": "remote_gpu", "content_types": ["document"]}
    status, known = await wire.tell("/api/v1/workers", {**machine, "instance_id": uuid4().hex})
    expect(status == CREATED, known)
    status, job = await wire.tell("/api/v1/remote-jobs/", {"upload_id": upload_id, "content_type": "document"})
    expect(status == OK, job)
    claim = {"claim_id": uuid4().hex, "slots": 1, "wait_s": 20}
    status, told = await wire.tell(f"/api/v1/workers/{known['worker_id']}/claim", claim)
    expect(status == OK, told)
    return f"/api/v1/attempts/{told['leases'][0]['attempt_id']}/source"


def uploaded(address: tuple[str, int], key: str, path: Path) -> str:
    """The id of the file, handed in."""
    with socket.create_connection(address) as connection, path.open("rb") as file:
        head = f"POST /api/v1/uploads HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nAuthorization: Bearer {key}\r\n"
        head += f"X-Filename: log.md\r\nContent-Length: {path.stat().st_size}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        connection.sendfile(file)
        answer = b""
        while more := connection.recv(65536):
            answer += more
    return cast("str", json.loads(answer.partition(b"\r\n\r\n")[2])["upload_id"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024)
    mib = parser.parse_args().mib
    configure(level="WARNING")
    with tempfile.TemporaryDirectory() as name:
        folder, file = Path(name) / "data", Path(name) / "source"
        folder.mkdir()
        (key,) = asyncio.run(keys_of(folder, 1))
        make(file, mib)
        with serving(folder) as (server, address), bare(file) as beside:
            path = asyncio.run(claimed(address, key, file))
            watch = Watch(server)
            timed(address, path, key)
            rates = [(timed(beside, "/", key), timed(address, path, key)) for _ in range(RUNS)]
            grown = watch.grown_mib()
    peer, ours = (max(each) / MIB for each in zip(*rates, strict=True))
    print(f"{mib} MiB: {ours:.0f} MiB/s, bare sendfile {peer:.0f} MiB/s: {ours / peer:.0%}")
    print(f"server memory +{grown:.1f} MiB, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
