"""Runs an application's registered functions: from a lease to an outcome.

lease ─▶ definition by name ─▶ arguments ─▶ on the loop │ in a thread │ in a child process ─▶ JSON ─▶ outcome
                                                  ├─ it raised ─▶ failure ─▶ retries ─▶ outcome
                                                  └─ it asked for children that have not ended ─▶ parked
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from morag.control.ports import ReportProgress
from morag.control.tasks.calls import Call, encode_result, is_large
from morag.control.tasks.children import Parking, is_parking
from morag.control.tasks.context import TaskContext
from morag.control.tasks.definitions import Definition, Nature, Registry
from morag.control.tasks.invoking import invoke
from morag.control.tasks.keeping import Blobs, kept_call, result_of
from morag.control.tasks.results import TaskResult, attempts_of, shown
from morag.control.tasks.retries import decide
from morag.domain.failure import AttemptFailed
from morag.domain.json import Json
from morag.domain.task import Completed, Lease, Outcome, Parked, Task
from morag.domain.transitions import INLINE_RESULT_BYTES
from morag.telemetry import log
from morag.worker.functions import failures
from morag.worker.functions.asking import answer
from morag.worker.functions.child import Job
from morag.worker.functions.children import Children
from morag.worker.functions.family import Family, Route, local
from morag.worker.functions.threads import Threads

GRACE_S = 5.0
"""How long a cancelled coroutine may take to clean up before it is left to itself."""

Kin = Callable[[str], Awaitable[Sequence[Task]]]
"""The children of a task, by its id."""


class FunctionRunner:
    """Runs a claimed task to its outcome (`control.ports.Run`)."""

    def __init__(
        self, registry: Registry, blobs: Blobs, *, children: Children | None, kin: Kin, route: Route = local
    ) -> None:
        """Run what is in `registry`; without `children`, heavy functions run in threads.

        `kin` reads child tasks, `route` says where those go that are asked for.
        """
        self._route = route
        self._registry = registry
        self._blobs = blobs
        self._kin = kin
        self._children = children
        self._threads = Threads()
        self._deaf: set[asyncio.Task[bytes]] = set()

    def stuck(self, nature: Nature) -> int:
        """How many of that nature go on though nobody wants their result any more."""
        return {Nature.LOOP: len(self._deaf), Nature.THREAD: self._threads.stuck}.get(nature, 0)

    async def run(self, lease: Lease, report: ReportProgress) -> Outcome | Parked:
        """The outcome of one attempt. Raises nothing but on cancellation."""
        task, definition = lease.task, self._registry.find(lease.task.name)
        family = Family(self._registry, task, self._route)
        context = TaskContext(task_id=task.id, attempt=attempts_of(task), report=report, ask=family.ask)
        try:
            family.meet(await self._ended(lease))
            return await self._outcome(definition, context, family, task)
        except Exception as error:  # noqa: BLE001 - here an attempt becomes an outcome, whatever was raised
            failure = failures.failure_of(error)
            if family.is_parking and failure.code == "task_raised":
                failure = failures.did_not_park(f"raised {failure.message}")
            log.warning(
                "attempt_failed",
                code=failure.code,
                reason=failure.message,
                attempt=task.attempt,
                exc_info=None if isinstance(error, AttemptFailed) else error,
            )
            return decide(failure, task, definition, jitter=random.random())  # noqa: S311 - spreads retries, no secret
        finally:
            context.cancel()

    async def _ended(self, lease: Lease) -> dict[str, TaskResult]:
        """How the task's children ended, by step."""
        kin = await self._kin(lease.task.id) if lease.children else ()
        return {str(each.step): shown(each, await result_of(each, self._blobs)) for each in kin if each.finished_at}

    async def _outcome(
        self, definition: Definition, context: TaskContext, family: Family, task: Task
    ) -> Completed | Parked:
        call = await kept_call(task.args, self._blobs)
        try:
            text = await self._perform(definition, call, context, family)
        except Parking:
            return await family.parked(self._blobs)
        if family.is_parking:
            raise AttemptFailed(failures.did_not_park("went on, and returned."))
        return await self._completed(text)

    async def _perform(self, definition: Definition, call: Call, context: TaskContext, family: Family) -> bytes:
        if definition.nature is Nature.LOOP:
            return await self._on_loop(definition, call, context)
        if definition.nature is Nature.CHILD and self._children:
            job = Job.of(definition, call, context, partial(answer, to=family.ask, registry=self._registry))
            return await self._children.run(job, context.progress, timeout_s=definition.timeout_s)

        def work() -> bytes:
            return encode_result(_guarded(lambda: invoke(definition.function, call, definition.context, context)))

        return await self._threads.run(work, on_cancel=context.cancel, name=f"task {definition.name}")

    async def _on_loop(self, definition: Definition, call: Call, context: TaskContext) -> bytes:
        inner = asyncio.create_task(_awaited(definition, call, context), name=f"function {definition.name}")
        try:
            done, _ = await asyncio.wait({inner}, timeout=definition.timeout_s)
        except asyncio.CancelledError:
            context.cancel()
            await self._stop(inner)
            raise
        if not done:
            context.cancel()
            await self._stop(inner)
            raise AttemptFailed(failures.too_slow(definition.timeout_s or 0.0))
        if inner.cancelled():
            raise AttemptFailed(failures.ended(asyncio.CancelledError()))
        return inner.result()

    async def _stop(self, inner: "asyncio.Task[bytes]") -> None:
        inner.cancel()
        self._deaf.add(inner)
        inner.add_done_callback(self._let_go)
        await asyncio.wait({inner}, timeout=GRACE_S)
        if not inner.done():
            log.warning("task_does_not_stop", hint="It swallows CancelledError; it holds its slot until it ends.")

    def _let_go(self, inner: "asyncio.Task[bytes]") -> None:
        self._deaf.discard(inner)
        if not inner.cancelled():
            inner.exception()  # looked at: nobody else will

    async def _completed(self, text: bytes) -> Completed:
        """Small results are in the record, others beside it."""
        if len(text) <= INLINE_RESULT_BYTES:
            result: Json = json.loads(text)
            return Completed(result=result)
        return Completed(result=None, result_blob=await (await self._blobs()).put(text))


async def _awaited(definition: Definition, call: Call, context: TaskContext) -> bytes:
    try:
        value = await invoke(definition.function, call, definition.context, context)
    except (Exception, asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as error:  # SystemExit would end the whole loop
        raise _left(error) from error
    return await asyncio.to_thread(encode_result, value) if is_large(value) else encode_result(value)


def _guarded(act: Callable[[], Any]) -> Any:
    try:
        value = act()
        return asyncio.run(value) if asyncio.iscoroutine(value) else value
    except Exception:
        raise
    except BaseException as error:
        raise _left(error) from error


def _left(error: BaseException) -> BaseException:
    """What leaving a function by no Exception means: it waits for children, or it tried to end more than itself."""
    return Parking() if is_parking(error) else AttemptFailed(failures.ended(error))
