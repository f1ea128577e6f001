"""Webhooks as a receiver sees them: signed, repeated, given up."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from morag.control import webhooks
from morag.control.ports import Posted
from morag.control.webhooks import Webhooks
from morag.domain.errors import FetchFailed, FetchRefused
from morag.domain.failure import Failure, FailureType
from morag.domain.task import NewTask, Task, TaskState
from morag.domain.transitions import opened
from morag.domain.webhook import Delivery, Secret, WebhookEvent, message_id
from morag.storage.host import SystemClock

DAY_S = 86_400.0


@dataclass
class Clock:
    wall: float

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.wall


@dataclass
class Deliveries:
    """Deliveries in a list."""

    clock: Clock
    all: list[Delivery] = field(default_factory=list[Delivery])
    secrets: dict[str, Secret] = field(default_factory=dict[str, Secret])

    async def take(self, *, limit: int, hold_s: float, busy: Sequence[str]) -> list[Delivery]:
        due = [
            each
            for each in self.all
            if each.due_at is not None and each.due_at <= self.clock.now() and each.user_id not in busy
        ][:limit]
        for each in due:
            await self.note(replace(each, due_at=self.clock.now() + hold_s))
        return due

    async def note(self, delivery: Delivery) -> None:
        self.all = [delivery if each.id == delivery.id else each for each in self.all]

    async def of_user(self, user_id: str, *, limit: int, before: str | None = None) -> list[Delivery]:
        del before
        return [each for each in self.all if each.user_id == user_id][:limit]

    async def secret(self, user_id: str, fresh: bytes) -> Secret:
        return self.secrets.setdefault(user_id, Secret(current=fresh))

    async def rotate(self, user_id: str, fresh: bytes) -> Secret:
        before = self.secrets.get(user_id)
        previous = before.current if before else None
        self.secrets[user_id] = Secret(current=fresh, previous=previous, rotated_at=self.clock.now())
        return self.secrets[user_id]

    async def forget(self, *, older_than_s: float) -> int:
        raise AssertionError(older_than_s)


@dataclass
class Receiver:
    """Keeps what it is sent, and answers as told."""

    answer: Posted | Exception = field(default_factory=lambda: Posted(status=200))
    got: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list[tuple[str, bytes, dict[str, str]]])
    gate: asyncio.Event | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Posted:
        self.got.append((url, body, dict(headers)))
        if self.gate:
            await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class World:
    def __init__(self) -> None:
        # receivers' libraries compare with the clock of the machine
        self.clock = Clock(SystemClock().now())
        self.deliveries = Deliveries(self.clock)
        self.receiver = Receiver()
        self.tasks: dict[str, Task] = {}
        self.webhooks = Webhooks(self.deliveries, self.find, self.receiver, self.clock)

    async def find(self, task_id: str) -> Task | None:
        return self.tasks.get(task_id)

    def ended(self, n: int = 1, *, user_id: str = "ada", event: WebhookEvent = WebhookEvent.COMPLETED) -> Delivery:
        task_id = f"0199-{n}"
        new = NewTask(id=task_id, namespace="morag", name="ingest", user_id=user_id)
        failure = Failure(type=FailureType.PROCESSING_ERROR, code="broken_file", message="It is broken.", hint="Mend.")
        state = TaskState.COMPLETED if event in {WebhookEvent.COMPLETED, WebhookEvent.INGESTED} else TaskState.FAILED
        self.tasks[task_id] = replace(
            opened(new, user_id=user_id, parent_id=None, now=self.clock.now(), steady=0.0),
            state=state,
            result={"document_id": "d1"},
            failure=failure if state is TaskState.FAILED else None,
            finished_at=self.clock.now(),
        )
        delivery = Delivery(
            id=message_id(task_id, event),
            user_id=user_id,
            task_id=task_id,
            event=event,
            url="https://example.org/hook",
            created_at=self.clock.now(),
            due_at=self.clock.now(),
            tries=0,
            status=None,
            error=None,
            delivered_at=None,
        )
        self.deliveries.all.append(delivery)
        return delivery

    async def act(self) -> int:
        """Send what is due and wait for it."""
        begun = await self.webhooks.act()
        this = asyncio.current_task()
        await asyncio.gather(*(each for each in asyncio.all_tasks() if each is not this))
        return begun

    def verified(self, secret: str) -> Any:
        _, body, headers = self.receiver.got[-1]
        return Webhook(secret).verify(body, headers)


@pytest.fixture
def world() -> World:
    return World()


async def test_a_receivers_library_verifies_what_is_sent(world: World) -> None:
    world.ended()
    await world.act()
    told = world.verified(await world.webhooks.secret("ada"))
    assert told["type"] == "task.completed"
    assert told["data"]["task_id"] == "0199-1"
    assert world.receiver.got[0][2]["webhook-id"] == "msg_01991_completed"


async def test_a_changed_body_is_not_verified(world: World) -> None:
    world.ended()
    await world.act()
    _, body, headers = world.receiver.got[0]
    with pytest.raises(WebhookVerificationError):
        Webhook(await world.webhooks.secret("ada")).verify(body.replace(b"0199-1", b"0199-2"), headers)


async def test_for_a_day_after_a_rotation_both_secrets_verify_then_only_the_new_one(world: World) -> None:
    before = await world.webhooks.secret("ada")
    after = await world.webhooks.rotate("ada")
    world.ended()
    await world.act()
    assert world.verified(before) == world.verified(after)
    world.deliveries.secrets["ada"] = replace(world.deliveries.secrets["ada"], rotated_at=world.clock.now() - DAY_S)
    world.ended(2)
    await world.act()
    assert world.verified(after)
    with pytest.raises(WebhookVerificationError):
        world.verified(before)


async def test_a_failed_task_is_told_with_its_reason(world: World) -> None:
    world.ended(event=WebhookEvent.FAILED)
    await world.act()
    told = json.loads(world.receiver.got[0][1])
    assert told["type"] == "task.failed"
    assert told["data"]["error"] == {"code": "broken_file", "message": "It is broken.", "hint": "Mend."}


async def test_an_ingested_document_is_told_with_the_result(world: World) -> None:
    world.ended(event=WebhookEvent.INGESTED)
    await world.act()
    assert json.loads(world.receiver.got[0][1])["data"]["result"] == {"document_id": "d1"}


@pytest.mark.parametrize("answer", [Posted(status=500), Posted(status=302), FetchFailed("away"), FetchRefused("no")])
async def test_what_was_not_taken_is_sent_again_under_the_same_id_for_a_day(
    world: World, answer: Posted | Exception
) -> None:
    world.receiver.answer = answer
    delivery = world.ended()
    began, pauses = world.clock.now(), list[float]()
    while (due_at := world.deliveries.all[0].due_at) is not None:
        pauses.append(due_at - world.clock.now())
        world.clock.wall = due_at
        assert await world.act() == 1
    assert len({headers["webhook-id"] for _, _, headers in world.receiver.got}) == 1
    assert pauses[: len(webhooks.PAUSES_S)] == sorted(pauses[: len(webhooks.PAUSES_S)])
    assert 10 <= len(pauses) <= 20
    assert DAY_S * 0.7 < world.clock.now() - began <= DAY_S
    assert world.deliveries.all[0].tries == len(world.receiver.got)
    assert (world.deliveries.all[0].delivered_at, delivery.id) == (None, world.deliveries.all[0].id)


async def test_a_receiver_that_is_gone_for_good_is_not_asked_again(world: World) -> None:
    world.receiver.answer = Posted(status=410)
    world.ended()
    await world.act()
    assert world.deliveries.all[0].due_at is None


async def test_a_receiver_says_itself_how_long_to_wait(world: World) -> None:
    world.receiver.answer = Posted(status=429, retry_after_s=900.0)
    world.ended()
    await world.act()
    assert world.deliveries.all[0].due_at == world.clock.now() + 900.0


async def test_a_slow_receiver_holds_up_its_own_user_only(world: World) -> None:
    world.receiver.gate = asyncio.Event()
    for n in range(20):
        world.ended(n)
    await world.webhooks.act()
    world.ended(99, user_id="eve")
    assert await world.webhooks.act() == 1
    world.receiver.gate.set()
    await world.act()


async def test_what_close_cuts_off_is_due_again(world: World) -> None:
    world.receiver.gate = asyncio.Event()
    world.ended()
    await world.webhooks.act()
    await world.webhooks.close()
    assert world.deliveries.all[0].due_at == world.clock.now() + webhooks.HOLD_S


async def test_a_task_whose_record_is_gone_is_given_up(world: World) -> None:
    world.ended()
    world.tasks.clear()
    await world.act()
    assert world.deliveries.all[0].due_at is None
    assert world.receiver.got == []


def test_the_url_and_the_secret_are_not_in_what_a_log_prints() -> None:
    delivery = World().ended()
    assert "example.org" not in repr(delivery)
    assert "secret!" not in repr(Secret(current=b"secret!", previous=b"secret!"))
