"""MoRAG: everything you have as Markdown you can search.

`from morag import TaskManager` is the library of durable tasks; nothing is loaded before a name is asked for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from morag.control.tasks.context import TaskContext as TaskContext
    from morag.domain.task import Priority as Priority
    from morag.tasks.manager import TaskManager as TaskManager
    from morag.tasks.manager import get_task_manager as get_task_manager
    from morag.tasks.results import TaskError as TaskError
    from morag.tasks.results import TaskResult as TaskResult

_PLACES = {
    "Priority": "morag.domain.task",
    "TaskContext": "morag.control.tasks.context",
    "TaskError": "morag.tasks.results",
    "TaskManager": "morag.tasks.manager",
    "TaskResult": "morag.tasks.results",
    "get_task_manager": "morag.tasks.manager",
}

__all__ = ["Priority", "TaskContext", "TaskError", "TaskManager", "TaskResult", "get_task_manager"]


def __getattr__(name: str) -> object:
    """Load a public name when it is asked for."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - `import morag` loads nothing

    return getattr(import_module(_PLACES[name]), name)
