"""Where arguments and results are kept: in the record, or beside it if they are large."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from morag.control.ports import BlobStore
from morag.control.tasks.calls import Call, is_large
from morag.domain.json import Json, JsonObject
from morag.domain.task import Task
from morag.domain.transitions import INLINE_RESULT_BYTES

Blobs = Callable[[], Awaitable[BlobStore]]
"""Where large arguments and results are; made when first needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A call as a record holds it."""

    text: bytes
    """All of it, as JSON."""
    args: JsonObject
    blobs: tuple[str, ...]


async def keep(call: Call, blobs: Blobs) -> Kept:
    """Store the call's arguments if they are large. Raises InvalidRequest for what is not JSON, StorageFull."""
    text = await asyncio.to_thread(call.encode) if is_large(call.args) or is_large(call.kwargs) else call.encode()
    if len(text) <= INLINE_RESULT_BYTES:
        return Kept(text=text, args=json.loads(text), blobs=())
    sha256 = await (await blobs()).put(text)
    return Kept(text=text, args={"blob": sha256}, blobs=(sha256,))


async def kept_call(args: JsonObject, blobs: Blobs) -> Call:
    """The call that a record's `args` stand for."""
    sha256 = args.get("blob")
    if not isinstance(sha256, str):
        return Call(**args)  # pyright: ignore[reportArgumentType] - `keep` wrote it
    return await asyncio.to_thread(Call.decode, await (await blobs()).get(sha256))


async def result_of(task: Task, blobs: Blobs) -> Json:
    """The task's result, wherever it is."""
    if task.result_blob is None:
        return task.result
    text = await (await blobs()).get(task.result_blob)
    return await asyncio.to_thread(json.loads, text)
