"""What must hold after `chaos/tasks.py`: the store's record against the lines that the functions left outside it."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ENDED = {"completed", "failed", "timeout", "cancelled"}
TASKS = """
SELECT id, name, state, attempt, fence, idempotency_key, json_extract(result, '$'), json_extract(failure, '$.code'),
    infrastructure_losses > infrastructure_budget, parent_id
FROM tasks
"""
ATTEMPTS = "SELECT task_id, n, fence, outcome, ended_at FROM attempts ORDER BY task_id, n"
EVENTS = """
SELECT task_id, seq, json_extract(data, '$.state'), coalesce(json_extract(data, '$.reason'), '')
FROM events WHERE kind = 'state' ORDER BY task_id, seq
"""
CHILDREN = 2
SHOWN = 20
"""Violations that are printed."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A grant, as the store tells it."""

    n: int
    fence: int
    outcome: str | None
    ended_at: float | None


@dataclass(frozen=True, slots=True)
class Record:
    """A task, as the store tells it."""

    id: str
    name: str
    state: str
    attempt: int
    fence: int
    key: str | None
    """Of those that were submitted; children have none."""
    result: str | None
    code: str | None
    is_worn_out: bool
    parent_id: str | None
    attempts: list[Attempt]
    changes: list[tuple[str, str]]
    """(state, reason), in order."""


@dataclass(frozen=True, slots=True)
class Account:
    """Figures, and all that must not be."""

    figures: dict[str, str]
    violations: list[str]


def account(folder: Path, wanted: int) -> Account:
    """Compare the store in `folder` with what was acknowledged and what was witnessed."""
    records, acknowledged, lines = _records(folder), _acknowledged(folder), _witnessed(folder)
    violations = [
        *(f"number {n} was never acknowledged" for n in range(wanted) if n not in acknowledged),
        *(f"number {n} is {len(ids)} tasks" for n, ids in acknowledged.items() if len(ids) > 1),
        *(f"{task_id} is lost" for ids in acknowledged.values() for task_id in ids if task_id not in records),
        *(
            f"key {key} is {n} tasks"
            for key, n in Counter(each.key for each in records.values()).items()
            if key and n > 1
        ),
        *(f"{task_id} ran, and is not in the store" for task_id in lines if task_id not in records),
        *(fault for each in records.values() for fault in _faults(each, lines[each.id])),
        *_of_families(records),
    ]
    return Account(figures=_figures(records, lines), violations=violations)


def _figures(records: dict[str, Record], lines: dict[str, list[tuple[int, str]]]) -> dict[str, str]:
    states = Counter(each.state for each in records.values())
    executions = [len(each) for each in lines.values()]
    outcomes = Counter(attempt.outcome for each in records.values() for attempt in each.attempts)
    return {
        "tasks": ", ".join(f"{n} {state}" for state, n in states.most_common()),
        "attempts": ", ".join(f"{n} {outcome}" for outcome, n in outcomes.most_common()),
        "executions": f"{sum(executions)}, at most {max(executions, default=0)} of one task",
        "worn out": str(sum(each.is_worn_out for each in records.values())),
    }


def _faults(record: Record, lines: list[tuple[int, str]]) -> Iterator[str]:
    """What is wrong with one task."""
    yield from (f"{record.name} {record.id} {fault}" for fault in _of_end(record))
    yield from (f"{record.name} {record.id} {fault}" for fault in _of_runs(record, lines))
    yield from (f"{record.name} {record.id} {fault}" for fault in _of_log(record))


def _of_families(records: dict[str, Record]) -> Iterator[str]:
    """Each completed parent has its two children, once, and no child is without a parent."""
    children = Counter(each.parent_id for each in records.values() if each.parent_id)
    yield from (f"{parent} has children, and is not there" for parent in children.keys() - records.keys())
    for each in records.values():
        if each.name == "family" and each.state == "completed" and children[each.id] != CHILDREN:
            yield f"{each.id} has {children[each.id]} children"


def _of_end(record: Record) -> Iterator[str]:
    if record.state not in ENDED:
        yield f"is {record.state}"
    elif record.state != "completed" and not record.is_worn_out:
        yield f"is {record.state}: {record.code}"
    completed = [each for each in record.attempts if each.outcome == "completed"]
    if len(completed) != (record.state == "completed"):
        yield f"is {record.state}, and was committed {len(completed)} times"
    if completed and completed[-1].fence != record.fence:
        yield f"was committed under fence {completed[-1].fence}, and has {record.fence}"


def _of_runs(record: Record, lines: list[tuple[int, str]]) -> Iterator[str]:
    told = _told(record)
    if strays := Counter(attempt for attempt, _ in lines) - Counter(told):
        yield f"ran without a grant, or twice under one, as attempts {sorted(strays)}"
    if record.state == "completed" and not lines:
        yield "is completed, and never ran"
    for attempt, shown in zip(record.attempts, told, strict=True):
        if attempt.outcome == "completed" and (shown, record.result) not in lines:
            yield f"has the result {record.result}, which attempt {attempt.n} did not leave"


def _told(record: Record) -> list[int]:
    """The attempt that each run was told it is: those that waited for children, or were given back, do not count."""
    told, uncounted = list[int](), 0
    for each in record.attempts:
        told.append(each.n - uncounted)
        uncounted += each.outcome in {"parked", "released"}
    return told


def _of_log(record: Record) -> Iterator[str]:
    fences = [each.fence for each in record.attempts]
    if [each.n for each in record.attempts] != list(range(1, record.attempt + 1)):
        yield f"has attempts {[each.n for each in record.attempts]}, and counts {record.attempt}"
    if fences != sorted(set(fences)):
        yield f"was granted under fences {fences}"
    if any(each.ended_at is None for each in record.attempts):
        yield "has an attempt that did not end"
    states = [state for state, _ in record.changes]
    if [state for state in states if state in ENDED] != [record.state] or states[-1] != record.state:
        yield f"is {record.state}, and its log says {states}"
    grants = sum(state == "running" and reason != "holder_is_back" for state, reason in record.changes)
    if grants != record.attempt:
        yield f"has {record.attempt} attempts, and {grants} grants in its log"


def _records(folder: Path) -> dict[str, Record]:
    attempts: dict[str, list[Attempt]] = defaultdict(list)
    changes: dict[str, list[tuple[str, str]]] = defaultdict(list)
    with sqlite3.connect(folder / "data" / "morag.db") as connection:
        for task_id, *attempt in connection.execute(ATTEMPTS):
            attempts[task_id].append(Attempt(*attempt))
        for task_id, _, state, reason in connection.execute(EVENTS):
            changes[task_id].append((state, reason))
        rows = connection.execute(TASKS).fetchall()
    connection.close()
    return {row[0]: Record(*row, attempts=attempts[row[0]], changes=changes[row[0]]) for row in rows}


def _acknowledged(folder: Path) -> dict[int, set[str]]:
    found: dict[int, set[str]] = defaultdict(set)
    for line in (folder / "acknowledged").read_text().splitlines():
        number, task_id = line.split()
        found[int(number)].add(task_id)
    return found


def _witnessed(folder: Path) -> dict[str, list[tuple[int, str]]]:
    """By task: (attempt, mark) of each execution."""
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for path in (folder / "witness").iterdir():
        for line in path.read_text().splitlines():
            task_id, attempt, mark = line.split()
            found[task_id].append((int(attempt), mark))
    return found
