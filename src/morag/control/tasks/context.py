"""What a task's function is told about its own run, if it asks for it with a parameter annotated `TaskContext`."""

from collections.abc import Callable

Report = Callable[[float, str, str], None]


class TaskContext:
    """One attempt, as its function sees it. Usable from any thread."""

    def __init__(self, *, task_id: str, attempt: int, report: Report) -> None:
        """Pass progress on to `report`."""
        self.task_id = task_id
        self.attempt = attempt
        """1 for the first."""
        self._report = report
        self._is_cancelled = False

    @property
    def is_cancelled(self) -> bool:
        """Whether the result will be thrown away: stop when convenient. A thread cannot be stopped from outside."""
        return self._is_cancelled

    def progress(self, fraction: float, stage: str = "", message: str = "") -> None:
        """Tell how far it is, 0 to 1; cheap, may be called often. Beyond the ends it is cut off there."""
        self._report(min(max(float(fraction), 0.0), 1.0), stage, message)

    def cancel(self) -> None:
        """Called by whoever runs the function, when nobody wants the result any more."""
        self._is_cancelled = True
