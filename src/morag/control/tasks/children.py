"""Children that an application's task asks for, and how its run ends while they are under way.

ctx.call("rate", 1) ─▶ ChildCall ─▶ ctx.wait_for(...) ─┬─ all have ended ─▶ their results
                                                       └─ not yet ─▶ Parking ends this run; a later one finds them
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from morag.control.tasks.results import TaskResult
from morag.domain.errors import InvalidRequest

MOST = 1000
"""Children of one `wait_for`: they are stored in one transaction."""
_STEP = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildCall:
    """A call of a registered task, not yet asked for. Made by `TaskContext.call`."""

    task: str | Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict[str, Any])
    step: str | None = None
    """Which of its parent's children it is; None: told by its place."""


Ask = Callable[[Sequence[ChildCall]], list[TaskResult]]
"""How the children, each with a step, ended. Raises Parking if not all have, and InvalidRequest."""


class Parking(BaseException):
    """Ends a run whose children are under way. No Exception: a task that catches its own errors lets it through."""


class Steps:
    """Names the children of one run, so that the next run finds each by the same name."""

    def __init__(self) -> None:
        self._rounds = 0
        self._taken: set[str] = set()

    def name(self, calls: Sequence[ChildCall]) -> list[ChildCall]:
        """The calls of the next round, those without a step named by their place in it. Raises InvalidRequest.

        A step is taken once the call is kept.
        """
        self._rounds += 1
        for each in calls:
            _check(each)
        if len(calls) > MOST:
            raise InvalidRequest(
                f"{len(calls)} children at once are more than {MOST}.",
                code="too_many_children",
                hint="Wait for them in several rounds, or let children ask for children.",
            )
        named = [replace(each, step=each.step or f"{self._rounds}.{i}") for i, each in enumerate(calls)]
        for step, n in Counter(each.step for each in named).items():
            if n > 1 or step in self._taken:
                raise InvalidRequest(
                    f"Two children of this task have the step {step!r}.",
                    code="bad_step",
                    hint="Give each a step of its own, or leave `step` out.",
                    field="step",
                )
        return named

    def keep(self, calls: Sequence[ChildCall]) -> None:
        """Take the steps of calls that were in order."""
        self._taken.update(str(each.step) for each in calls)


def is_parking(error: BaseException) -> bool:
    """Whether that is all it says: an `asyncio.TaskGroup` raises it in a group."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return all(is_parking(each) for each in group.exceptions)
    return isinstance(error, Parking)


def _check(call: ChildCall) -> None:
    if not isinstance(call, ChildCall):  # pyright: ignore[reportUnnecessaryIsInstance] - applications need not be typed
        raise InvalidRequest(
            f"ctx.wait_for cannot wait for {call!r}."[:200],
            code="bad_child_call",
            hint="Pass what ctx.call(task, ...) returns.",
        )
    if call.step is not None and not (isinstance(call.step, str) and _STEP.fullmatch(call.step)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidRequest(
            f"{call.step!r} cannot be a step."[:200],
            code="bad_step",
            hint="Begin with a letter, then letters, digits, `_`, `-`, `.` and `:`, at most 128. `step` is ctx.call's "
            "own: pass a task's parameter of that name by position.",
            field="step",
        )
