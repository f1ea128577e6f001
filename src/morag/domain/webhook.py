"""Webhooks: who is told over HTTP when a task of theirs ends. Signed as Standard Webhooks 1.0 says.

A delivery is written in the transaction that ends the task, so no end goes untold; sending it is tried for a day.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from morag.domain.task import TaskState


class WebhookEvent(StrEnum):
    """What is told."""

    COMPLETED = "task.completed"
    FAILED = "task.failed"
    TIMEOUT = "task.timeout"
    CANCELLED = "task.cancelled"
    INGESTED = "document.ingested"
    """Beside `task.completed`, for an ingest: the document can be found."""


OF_STATE = {
    TaskState.COMPLETED: WebhookEvent.COMPLETED,
    TaskState.FAILED: WebhookEvent.FAILED,
    TaskState.TIMEOUT: WebhookEvent.TIMEOUT,
    TaskState.CANCELLED: WebhookEvent.CANCELLED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """What a user's deliveries are signed with: 32 bytes each."""

    current: bytes = field(repr=False)
    previous: bytes | None = field(default=None, repr=False)
    """Signs beside the current one until it is a day old."""
    rotated_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message to one receiver, and what came of it so far."""

    id: str
    """The same in every try: `webhook-id`."""
    user_id: str
    task_id: str
    event: WebhookEvent
    url: str = field(repr=False)
    """May hold a token of the receiver's."""
    created_at: float
    due_at: float | None
    """When it is tried next; None once it is delivered or given up."""
    tries: int
    status: int | None
    """The receiver's latest HTTP status."""
    error: str | None
    """Why the latest try failed."""
    delivered_at: float | None


def message_id(task_id: str, event: WebhookEvent) -> str:
    """The stable id of what is told of a task."""
    return f"msg_{task_id.replace('-', '')}_{event.name.lower()}"
