"""What a key costs a request: to find out who asks, whatever the key is like; and how soon a revoked one is refused.

    .venv/bin/python bench/auth.py

In this process, over SQLite in a temporary folder. The cost includes asking the store again as often as a server does.
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

from fastapi import Request

from morag.api.access import decide
from morag.bootstrap.users import opened_keys
from morag.control.auth import APIKeyService
from morag.domain.keys import key_text
from morag.settings import Settings
from morag.telemetry import configure

SECONDS = 3.0
MADE_UP = key_text("zzzzzzzzzzzz", "s" * 43)
REVOCATIONS = 20


async def timed(act: Callable[[], Awaitable[object]]) -> list[float]:
    """Microseconds of each call, for SECONDS."""
    taken: list[float] = []
    until = time.perf_counter() + SECONDS
    while (began := time.perf_counter()) < until:
        await act()
        taken.append((time.perf_counter() - began) * 1e6)
    return taken


def told(name: str, taken: list[float]) -> None:
    ordered = sorted(taken)
    mean, p99 = statistics.fmean(taken), ordered[int(len(ordered) * 0.99)]
    print(f"{name:<34}{mean:9.1f} µs mean {p99:9.1f} µs p99 {ordered[-1]:9.1f} µs worst  of {len(taken):,}")


def scope(keys: APIKeyService, settings: Settings, text: str) -> dict[str, object]:
    """A request with a key, as the door sees it."""
    state = SimpleNamespace(system=SimpleNamespace(keys=keys), settings=settings)
    headers = [(b"host", b"localhost"), (b"accept", b"*/*"), (b"authorization", f"Bearer {text}".encode())]
    return {"type": "http", "headers": headers, "app": SimpleNamespace(state=state)}


async def refused_after_s(settings: Settings, serving: APIKeyService) -> float:
    """How long a server still takes a key that another process revokes."""
    issued = await serving.issue("ada")
    async with opened_keys(settings) as elsewhere:
        await serving.validate_api_key(issued.text)
        began = time.perf_counter()
        await elsewhere.revoke_api_key(issued.key.id)
        while await serving.validate_api_key(issued.text):  # noqa: ASYNC110 - nothing rings when a key is forgotten
            await asyncio.sleep(0)
        return time.perf_counter() - began


async def main() -> None:
    configure(level="WARNING")
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder))
        async with opened_keys(settings) as keys:
            text = await keys.create_api_key("ada")
            unseen = [await keys.create_api_key("ada") for _ in range(500)]
            request = Request(scope(keys, settings, text))
            print(f"load {os.getloadavg()[0]:.1f}")
            told("a request: who asks?", await timed(lambda: decide(request)))
            told("valid key", await timed(lambda: keys.validate_api_key(text)))
            told("malformed key", await timed(lambda: keys.validate_api_key(f"{text[:-1]}_")))
            told("made-up key", await timed(lambda: keys.validate_api_key(MADE_UP)))
            first: list[float] = []
            for each in unseen:
                began = time.perf_counter()
                await keys.validate_api_key(each)
                first.append((time.perf_counter() - began) * 1e6)
            told("valid key, not seen lately", first)
            refused = [await refused_after_s(settings, keys) for _ in range(REVOCATIONS)]
            print(f"revoked key refused after {statistics.median(refused):.3f} s, at most {max(refused):.3f} s")


if __name__ == "__main__":
    asyncio.run(main())
