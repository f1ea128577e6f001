"""A submit's arguments, checked, as a new task. What is wrong is said here, to whoever submits."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from morag.control.tasks.definitions import Definition
from morag.control.tasks.intake import new_id
from morag.control.tasks.invoking import call_of
from morag.control.tasks.keeping import Blobs, keep
from morag.domain.errors import InvalidRequest
from morag.domain.identity import ANONYMOUS, is_user_id
from morag.domain.task import Budget, NewTask, Priority

PriorityName = Literal["urgent", "high", "normal", "low", "batch"]

_OWN = (
    "user_id, priority, delay, deadline, idempotency_key and background_tasks are submit's own: pass a task's "
    "parameter of such a name by position."
)
_NAMES = tuple(each.name.lower() for each in Priority)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """How one task is to be queued."""

    namespace: str
    user_id: str | None
    priority: Priority | PriorityName | None
    delay_s: float
    deadline_s: float | None
    idempotency_key: str | None


async def new_task(
    definition: Definition,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    ticket: Ticket,
    blobs: Blobs,
) -> NewTask:
    """The task. Large arguments are stored in `blobs`. Raises InvalidRequest."""
    call = call_of(definition, args, kwargs, hint=_OWN)
    _check(ticket)
    kept = await keep(call, blobs)
    key = ticket.idempotency_key
    return NewTask(
        id=new_id(),
        namespace=ticket.namespace,
        name=definition.name,
        user_id=ticket.user_id or ANONYMOUS,
        args=kept.args,
        blobs=kept.blobs,
        priority=definition.priority if ticket.priority is None else priority_of(ticket.priority),
        budget=_budget(definition, ticket),
        delay_s=ticket.delay_s,
        timeout_s=definition.timeout_s,
        # other applications' keys are in the same file
        idempotency_key=f"{ticket.namespace}/{key}" if key else None,
        idempotency_digest=hashlib.sha256(definition.name.encode() + b"\n" + kept.text).hexdigest() if key else None,
    )


def priority_of(asked: Priority | PriorityName) -> Priority:
    """The priority, from its name too. Raises InvalidRequest."""
    if isinstance(asked, Priority):
        return asked
    if asked in _NAMES:
        return Priority[asked.upper()]
    raise InvalidRequest(f"{asked!r} is no priority.", hint=f"One of {', '.join(_NAMES)}.", field="priority")


def _budget(definition: Definition, ticket: Ticket) -> Budget:
    budget = Budget(processing=definition.retries + 1)
    if ticket.deadline_s is None:
        return budget
    return replace(budget, waiting_s=ticket.deadline_s, deadline_s=ticket.deadline_s)


def _check(ticket: Ticket) -> None:
    if ticket.user_id is not None and not is_user_id(ticket.user_id):
        raise InvalidRequest(
            "A user_id is 1 to 64 letters, digits, dots, underscores or hyphens.", hint="Pass a key.", field="user_id"
        )
    if not 0 <= ticket.delay_s < float("inf") or (ticket.deadline_s is not None and not ticket.deadline_s > 0):
        raise InvalidRequest(
            "delay must be 0 or more seconds, and a deadline more than 0.", hint="Leave them out.", field="delay"
        )
    if ticket.idempotency_key is not None and not 0 < len(ticket.idempotency_key) <= 200:
        raise InvalidRequest("An idempotency key has 1 to 200 characters.", hint="Hash it.", field="idempotency_key")
