"""Do to the line between a user's machine and the server, and to either, what bad days do; then count.

    .venv/bin/python chaos/remote_worker.py [--kills 5] [--mib 64 | --gib 1] [--only resets ...]

Real servers and `morag worker` processes; each trial sees to it that exactly one result was committed, nothing was
lost, and no conversion began anew that did not have to. Then a large result is delivered over a line of 200 ms with
1 % loss and a reset every 10 s. Figures are printed; exits 1 if something is not as it must be.
"""

import argparse
import asyncio
import hashlib
import itertools
import os
import sys
import tempfile
import time
import traceback
import uuid
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.integration import network_trials as trials
from tests.integration.far_place import Place, Server
from tests.integration.faulty_proxy import FaultyProxy
from tests.integration.network_trials import Figures, Times, Trial

from morag.domain.content import ContentType, Document, Segment
from morag.domain.content import Place as PlaceInDocument
from morag.protocol import (
    MAX_DOCUMENT_BYTES,
    ClaimWork,
    Heartbeat,
    HeldMessage,
    LeaseMessage,
    RegisterWorker,
    encode_document,
)
from morag.worker.remote.client import Client
from morag.worker.remote.delivery import Delivery
from morag.worker.remote.patience import Patience
from morag.worker.remote.screen import LogScreen
from morag.worker.remote.spool import Parcel, Spool

MIB = 1024**2
AGAIN = 0.05
"""Share of a large result that may be sent again."""
ALL: Sequence[Trial] = (
    trials.latency,
    trials.resets,
    trials.silence_during_a_job,
    trials.silence_while_idle,
    trials.silence_during_a_delivery,
    trials.short_cut,
    trials.outage_alone,
    trials.outage_with_another,
    trials.stopped_worker,
    trials.killed_worker,
    trials.killed_server,
    trials.twins,
    trials.full_disk,
    trials.wrong_clock,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=5, help="of workers, one after another")
    parser.add_argument("--mib", type=int, default=64, help="size of the large result")
    parser.add_argument("--gib", type=int, default=0, help="size of it in GiB instead")
    parser.add_argument("--only", nargs="*", help="trials to play, by name; `large` is the large result")
    given = parser.parse_args()
    times = Times(cut_s=15.0, transfer_bytes=8 * MIB, kills=given.kills)
    wanted = [trial for trial in ALL if not given.only or trial.__name__ in given.only]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "server")
        server.start()
        try:
            with Place(server, "alice") as place:
                for trial in wanted:
                    failed += not played(place, trial, times)
                if not given.only or "large" in given.only:
                    size_bytes = given.gib * 1024 * MIB or given.mib * MIB
                    failed += not played(place, lambda place, _times: large(place, size_bytes), times)
        finally:
            server.close()
    print(f"{failed} failed; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return int(failed > 0)


def played(place: Place, trial: Trial, times: Times) -> bool:
    """Whether it went as it must; what it found is printed."""
    name, began = trial.__name__.replace("_", " ").replace("<lambda>", "large result"), time.monotonic()
    try:
        figures = trial(place, times)
    except Exception:  # noqa: BLE001 - one that fails must not keep the others from being played
        traceback.print_exc()
        return False
    finally:
        place.clear()
    told = ", ".join(f"{what} {value:.4g}" for what, value in figures.items())
    print(f"{name:28}{time.monotonic() - began:7.1f} s   {told}", flush=True)
    return True


def large(place: Place, size_bytes: int) -> Figures:
    """Deliver so much, in documents as large as the server takes, with the parts that a worker delivers with."""
    share = min(size_bytes, MAX_DOCUMENT_BYTES - MIB)
    place.dismiss()  # so that nobody else takes what is to be delivered
    began, delivered = time.monotonic(), 0
    with FaultyProxy(place.server.port, latency_s=0.1, loss=0.01, reset_every_s=10.0) as line:
        while delivered < size_bytes:
            task_id = place.submit()
            delivered += asyncio.run(deliver(place, line.address, share))
            place.completed(task_id)
        sent, resets = line.passed.to_server_bytes, line.passed.resets
    again = sent / delivered - 1
    if again > AGAIN:
        raise AssertionError(f"{100 * again:.1f} % were sent again: {sent} of {delivered} bytes, {resets} resets")
    took_s = time.monotonic() - began
    return {"MiB": delivered / MIB, "resets": resets, "sent again, %": 100 * again, "MiB/s": delivered / MIB / took_s}


async def deliver(place: Place, address: str, size_bytes: int) -> int:
    """Take one lease and deliver a document for it; its size. Heartbeats go on meanwhile."""
    patience = Patience(LogScreen())
    spool = Spool(place.folder / uuid.uuid4().hex)
    async with Client(address, place.worker_key) as client:
        worker = await patience.call(lambda: client.register(machine()))
        lease = await claimed(client, patience, worker.worker_id)
        parcel = Parcel(attempt_id=lease.attempt_id, fence=lease.fence, name="large", processing_s=0.0)
        document = encode_document(of_size(size_bytes))
        spool.keep(parcel, document)
        async with asyncio.TaskGroup() as group:
            beats = group.create_task(beat(client, patience, worker.worker_id, lease))
            ended = await Delivery(client, spool, patience).deliver(parcel, lambda _told: None)
            beats.cancel()
        if not ended.is_committed:
            raise AssertionError(ended.told)
        await patience.call(lambda: client.leave(worker.worker_id))
    return len(document)


async def claimed(client: Client, patience: Patience, worker_id: str) -> LeaseMessage:
    body = ClaimWork(claim_id=uuid.uuid4().hex, slots=1, wait_s=20.0)
    (lease,) = await patience.call(lambda: client.claim(worker_id, body))
    return lease


async def beat(client: Client, patience: Patience, worker_id: str, lease: LeaseMessage) -> None:
    held = HeldMessage(attempt_id=lease.attempt_id, fence=lease.fence, stage="delivering", progress=1.0)
    for seq in itertools.count(1):
        await asyncio.sleep(5.0)
        body = Heartbeat(seq=seq, leases=[held])
        await patience.call(lambda body=body: client.heartbeat(worker_id, body), longest_s=5.0)


def machine() -> RegisterWorker:
    return RegisterWorker(
        name="box",
        instance_id=uuid.uuid4().hex,
        version="chaos",
        type="remote_gpu",
        content_types=[ContentType.DOCUMENT],
    )


def of_size(size_bytes: int) -> Document:
    """A document of about so many bytes of plain text, different everywhere."""
    line_bytes = 64
    lines = (hashlib.sha256(str(number).encode()).hexdigest() for number in range(size_bytes // line_bytes))
    text = "".join(lines)
    return Document(
        markdown=text,
        content_type=ContentType.DOCUMENT,
        media_type="text/markdown",
        title=None,
        metadata={},
        segments=(Segment(text_start=0, text_end=len(text), place=PlaceInDocument()),),
    )


if __name__ == "__main__":
    sys.exit(main())
