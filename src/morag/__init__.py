"""MoRAG: everything you have as Markdown you can search.

`from morag import TaskManager` is the library of durable tasks; nothing is loaded before a name is asked for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from morag.control.tasks.children import ChildCall as ChildCall
    from morag.control.tasks.context import TaskContext as TaskContext
    from morag.control.tasks.results import TaskError as TaskError
    from morag.control.tasks.results import TaskFailed as TaskFailed
    from morag.control.tasks.results import TaskResult as TaskResult
    from morag.domain.errors import Conflict as Conflict
    from morag.domain.errors import IdempotencyConflict as IdempotencyConflict
    from morag.domain.errors import InvalidRequest as InvalidRequest
    from morag.domain.errors import LimitReached as LimitReached
    from morag.domain.errors import MoragError as MoragError
    from morag.domain.errors import NotFound as NotFound
    from morag.domain.errors import StartupError as StartupError
    from morag.domain.errors import StorageFull as StorageFull
    from morag.domain.errors import Unavailable as Unavailable
    from morag.domain.task import Priority as Priority
    from morag.tasks.manager import TaskManager as TaskManager
    from morag.tasks.manager import get_task_manager as get_task_manager

_PLACES = {
    "ChildCall": "morag.control.tasks.children",
    "Conflict": "morag.domain.errors",
    "IdempotencyConflict": "morag.domain.errors",
    "InvalidRequest": "morag.domain.errors",
    "LimitReached": "morag.domain.errors",
    "MoragError": "morag.domain.errors",
    "NotFound": "morag.domain.errors",
    "Priority": "morag.domain.task",
    "StartupError": "morag.domain.errors",
    "StorageFull": "morag.domain.errors",
    "TaskContext": "morag.control.tasks.context",
    "TaskError": "morag.control.tasks.results",
    "TaskFailed": "morag.control.tasks.results",
    "TaskManager": "morag.tasks.manager",
    "TaskResult": "morag.control.tasks.results",
    "Unavailable": "morag.domain.errors",
    "get_task_manager": "morag.tasks.manager",
}

__all__ = [
    "ChildCall",
    "Conflict",
    "IdempotencyConflict",
    "InvalidRequest",
    "LimitReached",
    "MoragError",
    "NotFound",
    "Priority",
    "StartupError",
    "StorageFull",
    "TaskContext",
    "TaskError",
    "TaskFailed",
    "TaskManager",
    "TaskResult",
    "Unavailable",
    "get_task_manager",
]


def __getattr__(name: str) -> object:
    """Load a public name when it is asked for."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - `import morag` loads nothing

    return getattr(import_module(_PLACES[name]), name)
