"""Measures one task queue once, for queues.py, which starts this as a process of its own and reads its last line.

BENCH_REDIS=… BENCH_FOLDER=… BENCH_LEDGER=… python -m parts.queue_measures MODULE N SECONDS
"""

import asyncio
import importlib
import importlib.metadata
import json
import random
import statistics
import sys
import time

from parts.ledger import POLL_S, Ledger
from parts.processes import Group
from queue_systems import contract

IN_FLIGHT = (64, 256)
LATENCIES = 300
LATENCY_CAP_S = 5.0
PAUSE_S = 0.02
PATIENCE_S = 60.0
PILOT = 300


class Measurement:
    """One system, its workers and its ledger."""

    def __init__(self, system: contract.System, n: int, seconds: float) -> None:
        self._system = system
        self._ledger = Ledger(contract.LEDGER)
        self._n = n
        self._seconds = seconds
        self._next = 0
        self._log = contract.FOLDER / "workers.log"

    async def whole(self) -> dict[str, float | str]:
        """Every figure."""
        system = self._system
        found: dict[str, float | str] = {
            "version": importlib.metadata.version(system.package),
            "settings": system.settings,
        }
        await system.open()
        with Group(system.workers(), self._log):
            await self._warmed()
            found |= await self._latency()
            n = self._fit(await self._flooded(min(self._n, PILOT), IN_FLIGHT[0]))
            for in_flight in IN_FLIGHT:
                found[f"tasks_{in_flight}_per_s"] = await self._flooded(n, in_flight)
            found["n"] = n
        await system.close()
        found["drain_per_s"] = await self._drained(n)
        return found

    def _ids(self, n: int) -> range:
        self._next += n
        return range(self._next - n, self._next)

    def _fit(self, rate: float) -> int:
        """As many tasks as take the time that is given."""
        return max(min(self._n, int(rate * self._seconds)), min(self._n, 50))

    async def _warmed(self) -> None:
        """Workers are up, connections made."""
        ids = self._ids(20)
        await self._system.flood(ids, 4)
        await self._ledger.every(ids, timeout_s=PATIENCE_S)

    async def _latency(self) -> dict[str, float]:
        took: list[float] = []
        ids = self._ids(min(self._n, LATENCIES))
        end = time.monotonic() + LATENCY_CAP_S
        for i in ids:
            await asyncio.sleep(random.random() * PAUSE_S)  # noqa: S311 - a pause
            began = time.perf_counter()
            await self._system.once(i)
            took.append((time.perf_counter() - began) * 1000)
            if time.monotonic() > end:
                break
        cuts = statistics.quantiles(took, n=100, method="inclusive")
        return {"p50_ms": cuts[49], "p95_ms": cuts[94], "p99_ms": cuts[98], "latencies": len(took)}

    async def _flooded(self, n: int, in_flight: int) -> float:
        """Tasks a second from the first submit until the last is done, workers running beside."""
        ids = self._ids(n)
        before = await self._system.count_settled()
        began = time.monotonic()
        await self._system.flood(ids, in_flight)
        return n / (await self._done(ids, before) - began)

    async def _drained(self, n: int) -> float:
        """Tasks a second of a queue filled before its workers start, from the first to the last."""
        ids = self._ids(n)
        await self._system.open(is_running=False)
        before = await self._system.count_settled()
        await self._system.flood(ids, IN_FLIGHT[0])
        await self._system.close()
        await self._system.open()
        with Group(self._system.workers(), self._log):
            last = await self._done(ids, before)
        await self._system.close()
        return (n - 1) / (last - min(line.at for line in self._ledger.of("noop", ids)))

    async def _done(self, ids: range, before: int | None) -> float:
        """When the last of them was done: by the ledger, and by the record where there is one to ask."""
        last = await self._ledger.every(ids, timeout_s=PATIENCE_S)
        if before is None:
            return last
        while (await self._system.count_settled() or 0) < before + len(ids):  # noqa: ASYNC110 - a file rings no bell
            await asyncio.sleep(POLL_S)
        return time.monotonic()


def main() -> None:
    module, n, seconds = sys.argv[1:]
    system: contract.System = importlib.import_module(f"queue_systems.{module}").SYSTEM
    print(json.dumps(asyncio.run(Measurement(system, int(n), float(seconds)).whole())))


if __name__ == "__main__":
    main()
