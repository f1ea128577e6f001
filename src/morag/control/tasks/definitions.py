"""What an application registers: functions under names, with how each is to be run. Checked here, once, at import.

@tasks.task(...) ─▶ define(function) ─▶ Definition ─▶ Registry ─▶ what this process claims, and what it runs then
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from morag.control.tasks.context import TaskContext
from morag.control.tasks.schedules import Schedule
from morag.domain.errors import Conflict, InvalidRequest
from morag.domain.task import Priority

Function = Callable[..., Any]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
_TRIGGER = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
_POSITIONS = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)


class Nature(StrEnum):
    """Where a function runs."""

    LOOP = "loop"
    """`async def`: on the event loop."""
    THREAD = "thread"
    """`def`: cannot be killed."""
    CHILD = "child"
    """Heavy, or `def` with a running time: in a process of its own, which can be killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A registered function."""

    name: str
    function: Function
    nature: Nature
    heavy: bool
    """Said to be so; it is Celery's, where there is one."""
    signature: inspect.Signature
    """Of what is given at submit: without the context."""
    context: str | None
    """The parameter that takes the TaskContext."""
    retries: int
    backoff_s: float
    timeout_s: float | None
    priority: Priority
    trigger: str | None
    schedule: Schedule | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the decorator was told."""

    name: str | None = None
    retries: int = 0
    backoff_s: float = 1.0
    timeout_s: float | None = None
    heavy: bool = False
    priority: Priority = Priority.NORMAL
    trigger: str | None = None
    schedule: Schedule | None = None


def define(function: Function, terms: Terms) -> Definition:
    """Check a function with its terms. Raises InvalidRequest."""
    name = terms.name or getattr(function, "__name__", "")
    if not _NAME.fullmatch(name):
        raise _refused(f"{name!r} cannot name a task.", "Use letters, digits, `_`, `-`, `.` and `:`, at most 128.")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise _refused(f"Task {name} is a generator.", "Let it return one value, and tell progress by its context.")
    _check_numbers(name, terms)
    nature = nature_of(function, terms)
    if nature is Nature.CHILD:
        _check_importable(name, function)
    signature, context = _split(inspect.signature(function))
    if terms.trigger is not None or terms.schedule is not None:
        _check_callable_alone(name, signature)
    if terms.trigger is not None:
        _check_trigger(name, terms.trigger)
    return Definition(
        name=name,
        function=function,
        nature=nature,
        heavy=terms.heavy,
        signature=signature,
        context=context,
        retries=terms.retries,
        backoff_s=terms.backoff_s,
        timeout_s=terms.timeout_s,
        priority=terms.priority,
        trigger=terms.trigger,
        schedule=terms.schedule,
    )


def nature_of(function: Function, terms: Terms) -> Nature:
    """Where it runs: what must be killed when its time is up, or would block, gets a process of its own."""
    if terms.heavy:
        return Nature.CHILD
    if inspect.iscoroutinefunction(function):
        return Nature.LOOP
    return Nature.THREAD if terms.timeout_s is None else Nature.CHILD


class Registry:
    """The functions of one application, by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, Definition] = {}
        self._names: dict[Nature, frozenset[str]] = {}

    def __iter__(self) -> Iterator[Definition]:
        return iter(list(self._by_name.values()))

    def add(self, definition: Definition) -> None:
        """Register. Raises Conflict for a name or trigger that another function has."""
        for other in self:
            if _is_same(other, definition):
                continue
            if other.name == definition.name:
                raise Conflict(f"There is a task {other.name} already.", hint="Give one of the two another name.")
            if definition.trigger and other.trigger == definition.trigger:
                raise Conflict(f"Task {other.name} has the trigger {other.trigger} already.", hint="Choose another.")
        self._by_name[definition.name] = definition
        self._names.clear()

    def get(self, name: str) -> Definition | None:
        """The definition of that name."""
        return self._by_name.get(name)

    def find(self, asked: str | Function) -> Definition:
        """The definition of a name or a function. Raises InvalidRequest."""
        if isinstance(asked, str):
            found = self._by_name.get(asked)
        else:
            found = next((each for each in self if each.function is asked), None)
        if found is None:
            name = asked if isinstance(asked, str) else getattr(asked, "__name__", repr(asked))
            known = ", ".join(sorted(self._by_name)) or "none"
            raise InvalidRequest(
                f"There is no task {name!r}.",
                code="unknown_task",
                hint=f"Import the module that registers it before submitting. Known here: {known}.",
                field="name",
            )
        return found

    def triggered(self, trigger: str) -> Definition | None:
        """The definition with that trigger."""
        return next((each for each in self if each.trigger == trigger), None)

    def names(self, nature: Nature) -> frozenset[str]:
        """What of that nature this process can run."""
        if nature not in self._names:
            self._names[nature] = frozenset(each.name for each in self if each.nature is nature)
        return self._names[nature]


def without_children(definition: Definition) -> Definition:
    """The same, run in this process: for tests."""
    return replace(definition, nature=Nature.THREAD) if definition.nature is Nature.CHILD else definition


def _is_same(one: Definition, other: Definition) -> bool:
    """Whether both are one function, registered again because its module was loaded twice."""
    here, there = one.function, other.function
    return one.name == other.name and (here.__module__, here.__qualname__) == (there.__module__, there.__qualname__)


def _check_numbers(name: str, terms: Terms) -> None:
    if terms.retries < 0 or terms.backoff_s < 0:
        raise _refused(f"Task {name}: retries and backoff_s cannot be negative.", "0 retries is one attempt.")
    if terms.timeout_s is not None and terms.timeout_s <= 0:
        raise _refused(f"Task {name}: timeout_s must be more than 0.", "Leave it out for no limit.")


def _check_importable(name: str, function: Function) -> None:
    """A child process finds the function by its module and its name there."""
    if "<" in function.__qualname__:
        raise _refused(
            f"Task {name} runs in a child process, which cannot find {function.__qualname__}.",
            "Define it at the top of a module. (`heavy`, and `timeout_s` on a plain def, need a child process.)",
        )
    main = sys.modules["__main__"]
    if function.__module__ == "__main__" and main.__spec__ is None and not hasattr(main, "__file__"):
        raise _refused(f"Task {name} runs in a child process, which cannot find what was typed in.", "Use a file.")


def _split(signature: inspect.Signature) -> tuple[inspect.Signature, str | None]:
    """The signature without its context parameter, and that parameter's name."""
    named = [each.name for each in signature.parameters.values() if _is_context(each)]
    if not named:
        return signature, None
    kept = [each for each in signature.parameters.values() if each.name not in named]
    return signature.replace(parameters=kept), named[0]


def _is_context(parameter: inspect.Parameter) -> bool:
    asked = parameter.annotation
    if isinstance(asked, str):
        asked = asked.rpartition(".")[2]
    return asked in (TaskContext, TaskContext.__name__) and parameter.kind not in _POSITIONS


def _check_callable_alone(name: str, signature: inspect.Signature) -> None:
    try:
        signature.bind()
    except TypeError as error:
        raise _refused(f"Task {name} has a trigger or a schedule: {error}.", "Give its parameters defaults.") from None


def _check_trigger(name: str, trigger: str) -> None:
    parts = trigger.split("/")
    if not _TRIGGER.fullmatch(trigger) or (len(parts) == 2 and parts[1] == "cancel"):
        raise _refused(
            f"Task {name}: {trigger!r} cannot be a trigger.",
            "Use words with slashes between them, as in `rating/recalculate`; `…/cancel` is taken.",
        )


def _refused(message: str, hint: str) -> InvalidRequest:
    return InvalidRequest(message, code="bad_task_definition", hint=hint)
