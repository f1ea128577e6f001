"""What a task's function is told about its own run, if it asks for it with a parameter annotated `TaskContext`."""

from collections.abc import Callable
from typing import Any

from morag.control.tasks.children import Ask, ChildCall, Steps
from morag.control.tasks.results import TaskResult

Report = Callable[[float, str, str], None]


class TaskContext:
    """One run, as its function sees it. Usable from any thread; `wait_for` by one at a time."""

    def __init__(self, *, task_id: str, attempt: int, report: Report, ask: Ask) -> None:
        """Pass progress on to `report`, and what children are wanted to `ask`."""
        self.task_id = task_id
        self.attempt = attempt
        """1 for the first; waiting for children does not count."""
        self._report = report
        self._ask = ask
        self._steps = Steps()
        self._is_cancelled = False

    @property
    def is_cancelled(self) -> bool:
        """Whether the result will be thrown away: stop when convenient. A thread cannot be stopped from outside."""
        return self._is_cancelled

    def progress(self, fraction: float, stage: str = "", message: str = "") -> None:
        """Tell how far it is, 0 to 1; cheap, may be called often. Beyond the ends it is cut off there."""
        self._report(min(max(float(fraction), 0.0), 1.0), stage, message)

    @staticmethod
    def call(task: str | Callable[..., Any], /, *args: Any, step: str | None = None, **kwargs: Any) -> ChildCall:
        """A call of a registered task, by name or function, for `wait_for`; nothing starts yet.

        `step` names it among this task's children; without one its place does: the third child of the second
        `wait_for` is `2.2`.
        """
        return ChildCall(task=task, args=args, kwargs=kwargs, step=step)

    def wait_for(self, *calls: ChildCall) -> list[TaskResult]:
        """How the children ended, in order; a failed or cancelled one too is a result, never an exception.

        Not awaited, in an `async def` either. Unless all have ended, this run ends here: the children are stored, no
        slot is held, and once they have ended the function is called again from its beginning. Raises InvalidRequest
        for an unknown name, and for arguments that do not fit or are not JSON.
        """
        named = self._steps.name(calls)
        results = self._ask(named)
        self._steps.keep(named)
        return results

    def cancel(self) -> None:
        """Called by whoever runs the function, when nobody wants the result any more."""
        self._is_cancelled = True
