"""Deliveries of webhooks in SQL (`control.ports.DeliveryStore`), and how they come to be: with the end of a task."""

from collections.abc import Sequence
from dataclasses import asdict

from morag.domain.task import TaskState
from morag.domain.webhook import OF_STATE, Delivery, Secret, WebhookEvent, message_id
from morag.storage.sql.records import dump
from morag.storage.sql.statements import webhooks as sql
from morag.storage.sql.transaction import Host, Moment, Row, Transaction, Transactor

_AFTER_ALL_IDS = "~"


def enqueue(
    tx: Transaction, at: Moment, task_id: str, user_id: str, url: str, state: TaskState, *, is_published: bool = False
) -> None:
    """Note, in the transaction that ends a task, what its receiver is to be told."""
    told = [OF_STATE[state], *([WebhookEvent.INGESTED] if is_published else [])]
    for event in told:
        terms = {"id": message_id(task_id, event), "event": event.value, "url": url}
        tx.run(sql.ENQUEUE, user_id=user_id, task_id=task_id, now=at.now, steady=at.steady, **terms)


class SqlDeliveryStore:
    """Deliveries and secrets, durable at every return."""

    def __init__(self, engine: Transactor, host: Host) -> None:
        self._engine = engine
        self._host = host

    async def take(self, *, limit: int, hold_s: float, busy: Sequence[str]) -> list[Delivery]:
        """Deliveries that are due, not of the `busy` users; each is due again only after `hold_s`."""

        def is_any_due(tx: Transaction) -> bool:
            return tx.row(sql.IS_DUE, steady=self._host.moment(tx).steady) is not None

        def act(tx: Transaction) -> list[Delivery]:
            at = self._host.moment(tx)
            terms = {"steady": at.steady, "until": at.steady + hold_s}
            return [_delivery(row, at) for row in tx.rows(sql.TAKE, busy=dump(list(busy)), limit=limit, **terms)]

        return await self._engine.write(act) if await self._engine.read(is_any_due) else []

    async def note(self, delivery: Delivery) -> None:
        """Keep what came of a try."""
        told = {name: value for name, value in asdict(delivery).items() if name in _NOTED}

        def act(tx: Transaction) -> None:
            at = self._host.moment(tx)
            due_at = None if delivery.due_at is None else at.steady + delivery.due_at - at.now
            tx.run(sql.NOTE, id=delivery.id, **told, due_at=due_at)

        await self._engine.write(act)

    async def of_user(self, user_id: str, *, limit: int, before: str | None = None) -> list[Delivery]:
        """A user's deliveries, newest task first, from before the delivery `before` on."""

        def act(tx: Transaction) -> list[Delivery]:
            rows = tx.rows(sql.OF_USER, user_id=user_id, before=before or _AFTER_ALL_IDS, limit=limit)
            at = self._host.moment(tx)
            return [_delivery(row, at) for row in rows]

        return await self._engine.read(act)

    async def secret(self, user_id: str, fresh: bytes) -> Secret:
        """The user's secret; `fresh` becomes it if there is none."""

        def act(tx: Transaction) -> Secret | None:
            row = tx.row(sql.GET_SIGNING, user_id=user_id)
            return _secret(row) if row else None

        def make(tx: Transaction) -> Secret:
            tx.run(sql.INSERT_SIGNING, user_id=user_id, fresh=fresh, now=self._host.moment(tx).now)
            return act(tx) or Secret(current=fresh)

        return await self._engine.read(act) or await self._engine.write(make)

    async def rotate(self, user_id: str, fresh: bytes) -> Secret:
        """Make `fresh` the secret, and the one that was the previous."""

        def act(tx: Transaction) -> Secret:
            tx.run(sql.ROTATE, user_id=user_id, fresh=fresh, now=self._host.moment(tx).now)
            (row,) = tx.rows(sql.GET_SIGNING, user_id=user_id)
            return _secret(row)

        return await self._engine.write(act)

    async def forget(self, *, older_than_s: float) -> int:
        """Delete deliveries that ended and are older than that; how many."""
        return await self._engine.write(lambda tx: tx.run(sql.FORGET, before=self._host.moment(tx).now - older_than_s))


_NOTED = frozenset({"tries", "status", "error", "delivered_at"})


def _delivery(row: Row, at: Moment) -> Delivery:
    """A row as it looks now: what is due on the steady time, as the wall clock will then show."""
    return Delivery(
        id=row[0],
        user_id=row[1],
        task_id=row[2],
        event=WebhookEvent(row[3]),
        url=row[4],
        created_at=row[5],
        due_at=None if row[6] is None else at.now + row[6] - at.steady,
        tries=row[7],
        status=row[8],
        error=row[9],
        delivered_at=row[10],
    )


def _secret(row: Row) -> Secret:
    return Secret(current=bytes(row[0]), previous=bytes(row[1]) if row[1] is not None else None, rotated_at=row[2])
