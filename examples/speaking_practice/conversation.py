"""The WebSocket of the page: a recording comes in, progress and the score go back.

    browser: audio, audio, … {"type": "end", "user_name": …, "key": …}        later, if it likes: {"type": "cancel"}
    server:  {"type": "accepted", "task_id": …}, {"type": "progress", "seq": …, …}, …, {"type": "result", …}

A browser that is gone loses nothing: it comes back with `?task=…&after=seq`, and hears the rest.
"""

import asyncio
import base64
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from fastapi import WebSocket, WebSocketDisconnect
from speaking_tasks import store, tasks

from morag import MoragError, TaskResult

JsonObject: TypeAlias = dict[str, Any]

MOST_BYTES = 10 * 1024**2
"""Of a recording: two minutes of the worst that browsers send."""
MOST_CHUNKS = 4096
LISTEN_S = 180.0
"""A recording that takes longer to arrive is given up."""
RATING_S = 30.0
NAME_LENGTH = 40
UNEXPECTED = "Something broke while we listened. It is in our log; please try again later."
TOO_LARGE = f"The recording is larger than {MOST_BYTES >> 20} MB. Say the one sentence, or send a compressed file."


class Refused(Exception):
    """The conversation cannot go on; the message is for the person, the code is that of the closing WebSocket."""

    def __init__(self, message: str, code: int = 1008) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What a browser sent."""

    chunks: list[str]
    """In base64: arguments of tasks are JSON. Over 256 KiB they are stored in a file of their own."""
    user_name: str
    key: str | None
    """The browser's own name of the recording; sent again, it is the same task."""


async def converse(socket: WebSocket, resource_id: str, task_id: str | None, after: int) -> None:
    """Take a recording, or go on with the task of an earlier one, and tell how it goes until it has ended."""
    await socket.accept()
    with suppress(WebSocketDisconnect):  # whoever went comes back or not: a task that is stored goes on
        try:
            if task_id is None:
                task_id = await _submit(socket, resource_id)
            await _follow(socket, task_id, after)
            await socket.close()
        except (Refused, MoragError) as error:
            await socket.send_json({"type": "error", "message": str(error)})
            await socket.close(error.code if isinstance(error, Refused) else 1008)


async def _submit(socket: WebSocket, resource_id: str) -> str:
    if await asyncio.to_thread(store.sentence, resource_id) is None:
        raise Refused(f"There is no sentence {resource_id[:40]}.", 4404)
    try:
        async with asyncio.timeout(LISTEN_S):
            recording = await _listen(socket)
    except TimeoutError:
        raise Refused("The recording did not arrive in time. Check the connection, and try again.") from None
    session = socket.cookies.get("session")
    is_known = await asyncio.to_thread(store.seen, session, recording.user_name) is not None
    task_id = await tasks.submit(
        "process_speak_audio",
        resource_id,
        recording.chunks,
        recording.user_name,
        user_id=session if is_known else None,  # visitors take turns, however much one of them sends
        idempotency_key=recording.key,
    )
    await socket.send_json({"type": "accepted", "task_id": task_id})
    return task_id


async def _listen(socket: WebSocket) -> Recording:
    chunks: list[str] = []
    size_bytes = 0
    while True:
        message = await _received(socket)
        if isinstance(message, dict):
            return _ended(message, chunks)
        size_bytes += len(message)
        if size_bytes > MOST_BYTES or len(chunks) == MOST_CHUNKS:
            raise Refused(TOO_LARGE, 1009)
        chunks.append(base64.b64encode(message).decode())


def _ended(message: JsonObject, chunks: list[str]) -> Recording:
    if message.get("type") != "end":
        raise Refused('Send audio, then {"type": "end", "user_name": "…"}.')
    if not chunks:
        raise Refused("The recording is empty. Allow the microphone, and try again.")
    key = message.get("key")
    return Recording(chunks=chunks, user_name=named(message.get("user_name")), key=str(key)[:100] if key else None)


def named(given: object) -> str:
    """A name as it is kept: short, and of one line."""
    return " ".join(str(given or "").split())[:NAME_LENGTH] or "Student"


async def _received(socket: WebSocket) -> bytes | JsonObject:
    """The next audio, or the next message. Raises Refused, WebSocketDisconnect."""
    event = await socket.receive()
    if event["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(event["code"])
    if event.get("bytes") is not None:
        return event["bytes"]
    try:
        told: Any = json.loads(event["text"])
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise Refused("That is neither audio nor a JSON object.")
    return cast("JsonObject", told)


async def _follow(socket: WebSocket, task_id: str, after: int) -> None:
    """Tell how the task goes, and listen meanwhile whether it is still wanted."""
    result = await tasks.get_result(task_id)
    if result is None or result.name != "process_speak_audio":
        raise Refused("There is no such recording. Results are kept for a while only: please record it again.", 4404)
    hearing = asyncio.create_task(_hear(socket, task_id))
    telling = asyncio.create_task(_tell(socket, task_id, after))
    try:
        await asyncio.wait({hearing, telling}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        hearing.cancel()
        telling.cancel()
    outcomes = await asyncio.gather(telling, hearing, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


async def _hear(socket: WebSocket, task_id: str) -> None:
    while True:
        message = await _received(socket)
        if not isinstance(message, dict) or message.get("type") != "cancel":
            raise Refused('All there is to say now is {"type": "cancel"}. The recording is being worked on.')
        await tasks.cancel(task_id)


async def _tell(socket: WebSocket, task_id: str, after: int) -> None:
    async for event in tasks.events(task_id, after=after):
        if event.kind in {"progress", "state"}:
            told = {name: event.data.get(name) for name in ("state", "fraction", "message") if name in event.data}
            await socket.send_json({"type": event.kind, "seq": event.seq, **told})
    result = await tasks.wait(task_id)
    rating = await _rating(result)
    await socket.send_json(
        {
            "type": "result",
            "status": result.status,
            "result": result.result,
            "rating": rating,
            "error": reason(result),
        }
    )


async def _rating(result: TaskResult) -> float | None:
    """The learner's rating with the new score in it, by a task of its own; None if it takes too long."""
    if not isinstance(result.result, dict):
        return None
    who = (result.result["resource_id"], result.result["user_name"])
    rating_id = await tasks.submit("calculate_rating", *who, idempotency_key=f"rating-{result.task_id}")
    try:
        rated = (await tasks.wait(rating_id, RATING_S)).result
    except TimeoutError:
        return None
    return cast("float | None", rated["rating"]) if isinstance(rated, dict) else None


def reason(result: TaskResult) -> str | None:
    """Why there is no score, for the learner, and what to do."""
    if result.error is None:
        return None
    if result.error.code == "task_raised":
        return UNEXPECTED
    return " ".join(filter(None, (result.error.message, result.error.hint)))
