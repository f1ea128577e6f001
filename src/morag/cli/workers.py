"""`morag workers`: who runs one's tasks by the server's word, and what one's machines are told to do."""

import asyncio
from typing import Literal
from urllib.parse import quote

from morag.cli.client import client_of
from morag.cli.output import answer, answer_json, table
from morag.domain.json import Json, JsonObject
from morag.settings import load

_WORKERS = ("WORKER", "NAME", "TYPE", "STATE", "TASKS", "SEEN", "LANES")
_LANES = ("LANE", "WAITING", "RUNNING", "WORKERS", "LONGEST WAIT")
_TOLD = {
    "pause": "takes nothing new until `morag workers resume`; what it runs goes on.",
    "resume": "takes work again.",
    "drain": "finishes what it runs and leaves.",
}


def list_(*, as_json: bool) -> int:
    """Tell who is there and what stands in the lanes; the exit status."""
    found = asyncio.run(_status())
    if as_json:
        answer_json(found)
        return 0
    company = _object(found.get("workers"))
    rows = [_worker(name, _object(each)) for name, each in _object(company.get("details")).items()]
    answer("\n".join(table(_WORKERS, rows)))
    answer()
    answer(
        "\n".join(table(_LANES, [_lane(name, _object(each)) for name, each in _object(found.get("queues")).items()]))
    )
    return 0


def tell(worker_id: str, act: Literal["pause", "resume", "drain"], *, as_json: bool) -> int:
    """Let a machine pause, work or leave; the exit status. Raises ServerError."""
    state = asyncio.run(_tell(worker_id, act))
    if as_json:
        answer_json(state)
    else:
        answer(f"{worker_id} {_TOLD[act]}")
    return 0


async def _status() -> JsonObject:
    async with client_of(load()) as client:
        return await client.get("/api/v1/status/workers")


async def _tell(worker_id: str, act: str) -> JsonObject:
    async with client_of(load()) as client:
        return await client.post(f"/api/v1/workers/{quote(worker_id, safe='')}/{act}")


def _worker(worker_id: str, told: JsonObject) -> tuple[str, ...]:
    lanes = told.get("queues")
    return (
        worker_id,
        str(told.get("name")),
        str(told.get("type")),
        str(told.get("state")),
        f"{told.get('active_tasks')} of {told.get('max_tasks')}",
        f"{_seconds(told.get('last_seen_s'))} ago",
        " ".join(map(str, lanes)) if isinstance(lanes, list) else "",
    )


def _lane(lane: str, told: JsonObject) -> tuple[str, ...]:
    counts = (str(told.get(name)) for name in ("length", "running", "workers"))
    return (lane, *counts, _seconds(told.get("oldest_wait_s")))


def _seconds(value: Json) -> str:
    return f"{value:.0f} s" if isinstance(value, int | float) else ""


def _object(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}
