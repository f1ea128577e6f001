"""The children of one running task: those that have ended, and those it asks for now."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from morag.control.tasks.calls import Call
from morag.control.tasks.children import ChildCall, Parking
from morag.control.tasks.definitions import Definition, Registry
from morag.control.tasks.intake import new_id
from morag.control.tasks.invoking import call_of
from morag.control.tasks.keeping import Blobs, keep
from morag.control.tasks.results import TaskResult
from morag.domain.errors import InvalidRequest
from morag.domain.task import Budget, NewTask, Parked, Routing, Task

_OWN = "step is ctx.call's own: pass a task's parameter of that name by position."

Route = Callable[[str], Routing]
"""Where a task of that name goes that is submitted now, and why."""


def local(_name: str) -> Routing:
    """The server's own lane, for there is no other."""
    return Routing()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    step: str
    definition: Definition
    call: Call


class Family:
    """What one run asks of its children (`control.tasks.children.Ask`), to be stored when it has ended."""

    def __init__(self, registry: Registry, parent: Task, route: Route = local) -> None:
        """Ask for functions of `registry`, on behalf of `parent`; `route` says where each goes."""
        self._route = route
        self._registry = registry
        self._parent = parent
        self._ended: Mapping[str, TaskResult] = {}
        self._wanted: list[_Wanted] = []

    def meet(self, ended: Mapping[str, TaskResult]) -> None:
        """Know the children that have ended, by step."""
        self._ended = ended

    @property
    def is_parking(self) -> bool:
        """Whether this run was told to end, so that its children can run."""
        return bool(self._wanted)

    def ask(self, calls: Sequence[ChildCall]) -> list[TaskResult]:
        """How they ended. Raises Parking if not all have, and InvalidRequest."""
        wanted = [self._checked(each) for each in calls]
        if all(each.step in self._ended for each in wanted):
            return [self._ended[each.step] for each in wanted]
        self._wanted = self._wanted or wanted
        raise Parking

    async def parked(self, blobs: Blobs) -> Parked:
        """The children asked for, as tasks; the store finds again those there are. Raises StorageFull."""
        return Parked(children=tuple([await self._child(each, blobs) for each in self._wanted]))

    def _checked(self, asked: ChildCall) -> _Wanted:
        definition = self._registry.find(asked.task)
        known = self._ended.get(str(asked.step))
        if known and known.name != definition.name:
            raise InvalidRequest(
                f"Child {asked.step} is {definition.name} now, and was {known.name} in an earlier run of this task.",
                code="changed_child",
                hint="Ask for the same children in each run, in the same order, or give each a step of its own.",
                field="step",
            )
        call = call_of(definition, asked.args, asked.kwargs, hint=_OWN)
        call.check()
        return _Wanted(step=str(asked.step), definition=definition, call=call)

    async def _child(self, wanted: _Wanted, blobs: Blobs) -> NewTask:
        definition, kept = wanted.definition, await keep(wanted.call, blobs)
        return NewTask(
            id=new_id(),
            namespace=self._parent.namespace,
            name=definition.name,
            user_id=self._parent.user_id,
            args=kept.args,
            blobs=kept.blobs,
            routing=self._route(definition.name),
            priority=definition.priority,
            budget=Budget(processing=definition.retries + 1),
            timeout_s=definition.timeout_s,
            step=wanted.step,
        )
