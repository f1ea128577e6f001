"""How a function in a child process asks for children of its task: the question and the answer between the processes.

ctx.wait_for ─▶ ask ─pipe─▶ answer ─▶ Family.ask ─▶ results │ refused │ parking ─pipe─▶ hear
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from morag.control.tasks.calls import Call, dump
from morag.control.tasks.children import Ask, ChildCall, Parking
from morag.control.tasks.definitions import Registry
from morag.control.tasks.results import TaskError, TaskResult
from morag.domain.errors import InvalidRequest

MAIN = "__mp_main__"
"""What a program's main file is named in a child, so that what stands under `if __name__ == "__main__"` is not run."""


def place(module: str) -> tuple[str, str | None]:
    """Where a child finds a module: by its name, or the main file it is."""
    if module != "__main__":
        return module, None
    main = sys.modules["__main__"]
    return (main.__spec__.name, None) if main.__spec__ else (module, str(Path(str(main.__file__)).absolute()))


def ask(calls: Sequence[ChildCall]) -> bytes:
    """In the child: the question. Raises InvalidRequest for what is not JSON."""
    for each in calls:
        Call(args=list(each.args), kwargs=each.kwargs).check()
    return dump([[_told(each.task), each.step, each.args, each.kwargs] for each in calls])


def answer(question: bytes, to: Ask, registry: Registry) -> bytes:
    """In the parent: what `to` says."""
    try:
        results = to(
            [
                ChildCall(task=_meant(task, registry), step=step, args=tuple(args), kwargs=kwargs)
                for task, step, args, kwargs in json.loads(question)
            ]
        )
    except Parking:
        return dump({"parking": True})
    except InvalidRequest as error:
        refused = {"message": error.message, "code": error.code, "hint": error.hint, "field": error.field}
        return dump({"refused": refused})
    return dump({"results": [_fields(each) for each in results]})


def hear(text: bytes) -> list[TaskResult]:
    """In the child: the results. Raises Parking and InvalidRequest, as told."""
    told = json.loads(text)
    if "parking" in told:
        raise Parking
    if "refused" in told:
        raise InvalidRequest(**told["refused"])
    return [_result(each) for each in told["results"]]


def _told(task: Any) -> str | list[str]:
    """A function of the child is another object than the parent's: it is known by its place."""
    if isinstance(task, str):
        return task
    module = str(getattr(task, "__module__", ""))
    return ["__main__" if module == MAIN else module, str(getattr(task, "__qualname__", repr(task)))]


def _meant(task: str | list[str], registry: Registry) -> Any:
    if isinstance(task, str):
        return task
    functions = [each.function for each in registry]
    found = [each for each in functions if [place(each.__module__)[0], each.__qualname__] == task]
    return found[0] if found else task[1]


def _result(fields: dict[str, Any]) -> TaskResult:
    error = fields.pop("error")
    return TaskResult(**fields, error=TaskError(**error) if error else None)


def _fields(result: TaskResult) -> dict[str, Any]:
    plain = {name: getattr(result, name) for name in TaskResult.__slots__}
    return {**plain, "error": result.error and {name: getattr(result.error, name) for name in TaskError.__slots__}}
