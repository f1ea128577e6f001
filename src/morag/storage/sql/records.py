"""Rows to records and back. The order of columns is that of the statements and of the view `records`."""

import functools
import json
from typing import Any

from morag.domain.content import ContentType, Generation, Publication, StoredDocument
from morag.domain.failure import Alternative, Decision, Failure, FailureType, Strategy
from morag.domain.history import Attempt, Event
from morag.domain.limits import source_bytes
from morag.domain.task import Budget, Considered, NewTask, Priority, Progress, Routing, Task, TaskState
from morag.domain.transitions import Standing, as_json, content_type_of, rank, waits_until
from morag.storage.sql.transaction import Row

dump = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
"""Compact JSON of a value. Raises ValueError for NaN and infinities, TypeError for what is no JSON."""


def dump_record(record: object | None) -> str | None:
    """A frozen record as JSON text, None for None."""
    return None if record is None else dump(as_json(record))


_dump_routing = functools.lru_cache(maxsize=256)(dump_record)


def task(row: Row) -> Task:
    """A row of the view `records`."""
    return Task(
        id=row[0],
        namespace=row[1],
        name=row[2],
        user_id=row[3],
        state=TaskState(row[4]),
        args=json.loads(row[5]),
        options=json.loads(row[6]),
        routing=_routing(row[7]),
        priority=Priority(row[8]),
        budget=Budget(processing=row[9], infrastructure=row[10], deadline_s=row[11], waiting_s=row[12]),
        timeout_s=row[13],
        parent_id=row[14],
        step=row[15],
        open_children=row[16],
        retry_of=row[17],
        batch_id=row[18],
        needs_attention=bool(row[19]),
        created_at=row[20],
        ready_at=row[21],
        started_at=row[22],
        finished_at=row[23],
        attempt=row[24],
        fence=row[25],
        processing_failures=row[26],
        infrastructure_losses=row[27],
        worker_id=row[28],
        progress=Progress(**json.loads(row[29])) if row[29] else None,
        result=json.loads(row[30]) if row[30] else None,
        result_blob=row[31],
        failure=failure(row[32]),
    )


def task_values(record: Task, new: NewTask, steady: float) -> dict[str, Any]:
    """The parameters that insert a record made at the steady time `steady`."""
    standing = Standing.ROOT if record.parent_id is None else Standing.CHILD
    return {
        "id": record.id,
        "namespace": record.namespace,
        "name": record.name,
        "user_id": record.user_id,
        "lane": record.lane,
        "content_type": content_type_of(record.args),
        "state": record.state.value,
        "args": dump(record.args),
        "options": dump(record.options),
        "routing": _dump_routing(record.routing),
        "priority": int(record.priority),
        "rank": rank(standing, record.priority),
        "processing_budget": record.budget.processing,
        "infrastructure_budget": record.budget.infrastructure,
        "deadline_s": record.budget.deadline_s,
        "waiting_s": record.budget.waiting_s,
        "timeout_s": record.timeout_s,
        "parent_id": record.parent_id,
        "step": record.step,
        "retry_of": record.retry_of,
        "batch_id": record.batch_id,
        "idempotency_key": new.idempotency_key,
        "idempotency_digest": new.idempotency_digest,
        "reserved_document_id": new.reservation.document_id if new.reservation else None,
        "webhook_url": new.webhook_url,
        # a child works on what its parent brought
        "source_bytes": 0 if record.parent_id else source_bytes(record.args) or 0,
        "created_at": record.created_at,
        "ready_at": record.ready_at,
        "due_at": waits_until(record, steady),
        "finished_at": record.finished_at,
        "is_ready": int(not record.state.is_terminal and new.delay_s <= 0),
        "result": dump(record.result) if record.state.is_terminal else None,
        "created_steady": steady,
        "finished_steady": steady if record.state.is_terminal else None,
    }


def attempt(row: Row) -> Attempt:
    """A row of `reading.ATTEMPTS`."""
    return Attempt(
        n=row[0],
        fence=row[1],
        worker_id=row[2],
        lane=row[3],
        started_at=row[4],
        ended_at=row[5],
        outcome=row[6],
        failure=failure(row[7]),
        decision=_decision(row[8]),
    )


def event(task_id: str, row: Row) -> Event:
    """A row of `reading.EVENTS`."""
    return Event(task_id=task_id, seq=row[0], at=row[1], kind=row[2], data=json.loads(row[3]))


def failure(text: str | None) -> Failure | None:
    """A failure from its JSON."""
    if not text:
        return None
    told: dict[str, Any] = json.loads(text)
    kind = FailureType(told.pop("type"))
    return Failure(type=kind, **told)


def document(row: Row) -> StoredDocument:
    """A row of the statements on `documents`."""
    publication = Publication(
        document_id=row[1],
        title=row[2],
        source=row[3],
        content_type=ContentType(row[4]),
        media_type=row[5],
        content_hash=row[6],
        options_digest=row[7],
        metadata=json.loads(row[8]),
        chunks=row[9],
        size_bytes=row[10],
        document_blob=row[11],
        original_blob=row[12],
        chunking=json.loads(row[13]),
    )
    generation = Generation(document_id=row[1], task_id=row[14], fence=row[15])
    return StoredDocument(
        user_id=row[0], publication=publication, generation=generation, created_at=row[16], updated_at=row[17]
    )


def document_values(publication: Publication) -> dict[str, Any]:
    """The parameters of a publication."""
    told = as_json(publication)
    return {**told, "metadata": dump(publication.metadata), "chunking": dump(publication.chunking)}


@functools.lru_cache(maxsize=256)
def _routing(text: str) -> Routing:
    told: dict[str, Any] = json.loads(text)
    considered = tuple(Considered(**one) for one in told["considered"])
    return Routing(lane=told["lane"], reason=told["reason"], considered=considered)


def _decision(text: str | None) -> Decision | None:
    if not text:
        return None
    told: dict[str, Any] = json.loads(text)
    strategy = Strategy(told.pop("strategy"))
    others = tuple(_alternative(one) for one in told.pop("alternatives"))
    return Decision(strategy=strategy, alternatives=others, **told)


def _alternative(told: dict[str, str]) -> Alternative:
    return Alternative(strategy=Strategy(told["strategy"]), why_not=told["why_not"])
