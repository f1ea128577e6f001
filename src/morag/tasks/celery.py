"""What Celery is told: a queue of doorbells, the one task that answers them, and why each of its settings is set.

application: CeleryExecutor ─▶ CeleryBroker ─▶ queue        worker: queue ─▶ `morag.ring` ─▶ Attendant ─▶ engine: claim

The record is the truth, and a claim decides who runs what; so Celery may lose, delay or double any message. Imported
where Celery is asked for, and nowhere else.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from celery import Celery  # pyright: ignore[reportMissingTypeStubs]
from celery.signals import worker_process_shutdown, worker_shutdown  # pyright: ignore[reportMissingTypeStubs]
from kombu.connection import Connection  # pyright: ignore[reportMissingTypeStubs]

from morag.domain.errors import StartupError, Unavailable
from morag.domain.identity import LOCAL_LANE

RING = "morag.ring"
"""Celery's name of the task that answers doorbells."""
ANSWER_S = 2.0
"""How long the broker may take for one answer to a process that publishes."""
LAST_S = 10.0
"""What a worker that is stopped the hard way leaves its tasks to end, seconds."""

_SETTINGS: dict[str, Any] = {
    # a message that anyone could have put into the broker is never unpickled
    "accept_content": ["json"],
    "task_serializer": "json",
    # results are in the record
    "task_ignore_result": True,
    # acknowledged when a worker begins: the record's lease, not the broker, brings back what a dead worker held. A
    # late one would come again after Redis' visibility timeout, or close RabbitMQ's channel after half an hour
    "task_acks_late": False,
    # one spare message a process: what a busy worker hoards others cannot answer
    "worker_prefetch_multiplier": 1,
    # workers may be started before their broker and outlive it, however long it is away
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    # concerns late acknowledgements, so what runs goes on; False would warn of that at each loss
    "worker_cancel_long_running_tasks_on_connection_loss": True,
    # told to stop at once: ends what ends soon, before the rest is killed and its lease seen as lost
    "worker_soft_shutdown_timeout": LAST_S,
    # events are in the record
    "worker_send_task_events": False,
    "task_send_sent_event": False,
}


Attend = Callable[[str, str, str], Awaitable[None]]
"""Answers a doorbell: namespace, lane, task id."""


class AnyRing(Protocol):
    """A doorbell (`executors.celery.Ring`)."""

    @property
    def namespace(self) -> str:
        """Whose it is."""
        ...

    @property
    def lane(self) -> str:
        """Where there is work."""
        ...

    @property
    def task_id(self) -> str:
        """A task that was ready there."""
        ...


class CeleryBroker:
    """The queue of one application's doorbells (`executors.celery.Broker`)."""

    def __init__(self, url: str, namespace: str) -> None:
        """Nothing is connected yet. Raises StartupError for a URL that names no known kind of broker."""
        self._app = _app(url, namespace)
        # unlike a worker, who publishes must not hang or try for ever
        self._app.conf.broker_transport_options = _impatient(url)
        self._connection: Any = None
        self._queue: Any = self._app.amqp.queues[self._app.conf.task_default_queue]
        try:
            Connection(url).get_transport_cls()
        except Exception as error:
            raise StartupError(
                "CELERY_BROKER_URL names no broker that can be used here.",
                code="bad_setting",
                hint="Write redis://host:6379/0, or amqp://user:password@host// for RabbitMQ.",
            ) from error

    def waiting(self) -> int:
        """How many messages wait. Raises Unavailable."""
        with self._answering() as connection:
            return int(self._queue(connection.default_channel).queue_declare().message_count)

    def ring(self, rings: Sequence[AnyRing]) -> None:
        """Publish some. Raises Unavailable."""
        with self._answering() as connection, self._app.amqp.Producer(connection.default_channel) as producer:
            for ring in rings:
                told = {"namespace": ring.namespace, "lane": ring.lane, "task_id": ring.task_id}
                self._app.send_task(RING, kwargs=told, producer=producer, retry=False, ignore_result=True)

    def close(self) -> None:
        """Drop the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()

    @contextmanager
    def _answering(self) -> Generator[Any]:
        """The connection; whatever goes wrong drops it. Errors may hold the URL: only their kind is told."""
        try:
            if self._connection is None:
                self._connection = self._app.connection_for_write()
            yield self._connection
        except Exception as error:
            self.close()
            raise Unavailable(f"The Celery broker does not answer ({type(error).__name__}).") from error


class Attendant:
    """Answers doorbells in a worker's process, on an event loop that the first one starts and that outlives each.

    A pool may answer one at a time or several, from one thread or many; each waits until its task has ended.
    """

    def __init__(self, attend: Attend, close: Callable[[], Awaitable[None]]) -> None:
        """`attend` a namespace, lane and task id; `close` at the end."""
        self._attend = attend
        self._close = close
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def answer(self, *, namespace: str, lane: str, task_id: str) -> None:
        """Claim and run one task, if there is one."""

        async def act() -> None:
            await self._attend(namespace, lane, task_id)

        asyncio.run_coroutine_threadsafe(act(), self._started()).result()

    def stop(self, **_: object) -> None:
        """Let what runs end for a while, give back the rest."""

        async def act() -> None:
            await self._close()

        with self._lock:
            loop, self._loop = self._loop, None
        if loop:
            asyncio.run_coroutine_threadsafe(act(), loop).result()
            loop.call_soon_threadsafe(loop.stop)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="morag", daemon=True).start()
            return self._loop


def worker_app(url: str, namespace: str, attendant: Attendant) -> Celery:
    """The Celery application that `celery -A module:name worker` serves; it consumes the namespace's queue."""
    app = _app(url, namespace)
    app.task(name=RING, ignore_result=True)(attendant.answer)
    # prefork: each child says goodbye; solo and threads: the worker itself
    for goodbye in (worker_process_shutdown, worker_shutdown):
        goodbye.connect(attendant.stop, weak=False)  # pyright: ignore[reportUnknownMemberType]
    return app


def _app(url: str, namespace: str) -> Any:
    # no backend, whatever CELERY_RESULT_BACKEND says, which Celery would read by itself
    app: Any = Celery("morag", broker=url, backend="disabled://", set_as_current=False, fixups=[])
    # a queue an application: none answers another's doorbell
    app.conf.update(_SETTINGS, task_default_queue=f"{namespace}.{LOCAL_LANE}")
    return app


def _impatient(url: str) -> dict[str, Any]:
    once = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}
    if url.startswith("amqp"):
        return {**once, "connect_timeout": ANSWER_S, "read_timeout": ANSWER_S, "write_timeout": ANSWER_S}
    return {**once, "socket_connect_timeout": ANSWER_S, "socket_timeout": ANSWER_S}
