"""Webhooks: what is due is signed and sent, tried again with growing pauses for a day, then given up.

a task ends ─(its transaction)─▶ delivery ─▶ due ─▶ sign ─▶ POST ─▶ 2xx: delivered │ else: due later │ given up
"""

import asyncio
import base64
import hashlib
import hmac
import json
import random
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus

from morag.control.ports import Clock, DeliveryStore, Posted, Poster
from morag.domain.errors import FetchError, StorageFull, Unavailable
from morag.domain.json import JsonObject
from morag.domain.task import Task
from morag.domain.webhook import Delivery, Secret, WebhookEvent
from morag.telemetry import log

SECRET_BYTES = 32
PREVIOUS_S = 86_400.0
"""How long the secret before signs beside the new one."""
GIVE_UP_S = 86_400.0
PAUSES_S = (2.0, 10.0, 60.0, 600.0, 1800.0, 3600.0, 7200.0, 14_400.0)
"""Between tries, the last one again and again; a fifth of each is drawn."""
HOLD_S = 60.0
"""A delivery taken by a process that died meanwhile is due again after this."""
AT_ONCE = 32
OF_ONE_USER = 8
"""Sent at once: a receiver that answers slowly holds up its own user only."""


FindTask = Callable[[str], Awaitable[Task | None]]


class Webhooks:
    """Sends what is due, and lets users see it."""

    def __init__(self, deliveries: DeliveryStore, find: FindTask, poster: Poster, clock: Clock) -> None:
        """Read deliveries and, by `find`, the tasks they tell of; send by `poster`."""
        self._deliveries = deliveries
        self._find = find
        self._poster = poster
        self._clock = clock
        self._sending: dict[asyncio.Task[None], str] = {}

    async def secret(self, user_id: str) -> str:
        """The user's signing secret as receivers' libraries take it: `whsec_…`."""
        return _shown((await self._deliveries.secret(user_id, secrets.token_bytes(SECRET_BYTES))).current)

    async def rotate(self, user_id: str) -> str:
        """A new secret; for a day deliveries carry signatures by both."""
        return _shown((await self._deliveries.rotate(user_id, secrets.token_bytes(SECRET_BYTES))).current)

    async def deliveries(self, user_id: str, *, limit: int = 50, before: str | None = None) -> list[Delivery]:
        """What was, or is to be, sent for the user's tasks, newest first."""
        return await self._deliveries.of_user(user_id, limit=limit, before=before)

    async def act(self) -> int:
        """Begin to send what is due, a chore; how many. Returns without waiting for receivers."""
        free = AT_ONCE - len(self._sending)
        if free <= 0:
            return 0
        at_it = Counter(self._sending.values())
        busy = [user_id for user_id, n in at_it.items() if n >= OF_ONE_USER]
        due = await self._deliveries.take(limit=free, hold_s=HOLD_S, busy=busy)
        for delivery in due:
            sending = asyncio.create_task(self._send(delivery), name=f"webhook {delivery.id}")
            self._sending[sending] = delivery.user_id
            sending.add_done_callback(self._sending.pop)
        return len(due)

    async def forget(self, older_than_s: float) -> int:
        """Delete old deliveries, a chore."""
        return await self._deliveries.forget(older_than_s=older_than_s)

    async def close(self) -> None:
        """Stop sending; what was cut off is due again later."""
        for sending in list(self._sending):
            sending.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def _send(self, delivery: Delivery) -> None:
        try:
            await self._deliveries.note(await self._tried(delivery))
        except (Unavailable, StorageFull) as error:
            log.warning("webhook_not_noted", task_id=delivery.task_id, error=error.message)

    async def _tried(self, delivery: Delivery) -> Delivery:
        """One try and what came of it."""
        task = await self._find(delivery.task_id)
        if task is None:
            return _given_up(replace(delivery, error="The task's record is gone."))
        body = json.dumps(message(task, delivery), separators=(",", ":")).encode()
        secret = await self._deliveries.secret(delivery.user_id, secrets.token_bytes(SECRET_BYTES))
        try:
            posted = await self._poster.post(delivery.url, body, self._headers(delivery, secret, body))
        except FetchError as error:
            return self._judged(delivery, None, error=error.message)
        return self._judged(delivery, posted, error=f"It answered {posted.status}.")

    def _headers(self, delivery: Delivery, secret: Secret, body: bytes) -> dict[str, str]:
        now = self._clock.now()
        keys = [secret.current]
        if secret.previous and now - secret.rotated_at < PREVIOUS_S:
            keys.append(secret.previous)
        return {
            "content-type": "application/json",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(int(now)),
            "webhook-signature": " ".join(sign(key, delivery.id, int(now), body) for key in keys),
        }

    def _judged(self, delivery: Delivery, posted: Posted | None, *, error: str) -> Delivery:
        now, status = self._clock.now(), posted.status if posted else None
        tried = replace(delivery, tries=delivery.tries + 1, status=status, error=error)
        if status is not None and 200 <= status < 300:
            return replace(tried, error=None, due_at=None, delivered_at=now)
        pause_s = max(pause(delivery.tries, random.random()), (posted and posted.retry_after_s) or 0.0)  # noqa: S311 - spreads retries, no secret
        if status == HTTPStatus.GONE or now + pause_s - delivery.created_at > GIVE_UP_S:
            return _given_up(tried)
        return replace(tried, due_at=now + pause_s)


def sign(key: bytes, message: str, timestamp: int, body: bytes) -> str:
    """A signature of Standard Webhooks, version 1: HMAC-SHA256 over id, time and body."""
    signed = hmac.new(key, f"{message}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


def pause(tries: int, jitter: float) -> float:
    """Seconds until the next try after `tries` before this one; `jitter` 0 to 1."""
    return PAUSES_S[min(tries, len(PAUSES_S) - 1)] * (0.9 + 0.2 * jitter)


def message(task: Task, delivery: Delivery) -> JsonObject:
    """What a receiver reads. The result itself only of an ingest; of others `GET /api/v1/status/{task_id}` has it."""
    about: JsonObject = {
        "task_id": task.id,
        "name": task.name,
        "status": task.state.value,
        "batch_id": task.batch_id,
        "created_at": _time(task.created_at),
        "completed_at": _time(task.finished_at or delivery.created_at),
        "error": None,
    }
    if task.failure and delivery.event is not WebhookEvent.COMPLETED:
        about["error"] = {"code": task.failure.code, "message": task.failure.message, "hint": task.failure.hint}
    if delivery.event is WebhookEvent.INGESTED:
        about["result"] = task.result
    return {"type": delivery.event.value, "timestamp": _time(delivery.created_at), "data": about}


def _given_up(tried: Delivery) -> Delivery:
    log.warning("webhook_given_up", task_id=tried.task_id, tries=tried.tries, status=tried.status)
    return replace(tried, due_at=None)


def _shown(secret: bytes) -> str:
    return f"whsec_{base64.b64encode(secret).decode()}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
