"""What the machine does with a store, as Hypothesis draws it: small worlds, so that things meet."""

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st
from tests.contract.conftest import LANE
from tests.contract.machine.subjects import USERS

from morag.domain.content import ContentType, Publication
from morag.domain.failure import Decision, Failure, FailureType, Strategy
from morag.domain.json import Json, JsonObject
from morag.domain.limits import Limits
from morag.domain.task import (
    Budget,
    Completed,
    Failed,
    NewTask,
    Offers,
    Outcome,
    Parked,
    Priority,
    Progress,
    Reservation,
    Retried,
    Routing,
    TimedOut,
)

LANES = (LANE, "gpu-tasks-ada")
NAMESPACES = ("test", "other")
NAMES = ("work", "heavy")
CONTENT_TYPES = ("", "audio")
DOCUMENTS = ("a", "b")
STEPS = ("one", "two", "three")

_mostly = st.integers(0, 7).map(bool)
"""True seven times of eight."""
_pick = st.integers(0, 999)

budgets = st.builds(
    Budget,
    infrastructure=st.sampled_from([5, 0, 1]),
    deadline_s=st.sampled_from([21_600.0, 21_600.0, 45.0]),
    waiting_s=st.sampled_from([None, None, None, 60.0]),
)

document_ids = st.sampled_from([*DOCUMENTS[:1] * 3, *DOCUMENTS])

reservations = st.none() | st.builds(Reservation, document_id=document_ids, replace_existing=st.booleans())


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What matters of a task to submit, or of children to make."""

    user_id: str
    is_first_lane: bool
    is_first_namespace: bool
    name: str
    content_type: str
    priority: Priority
    delay_s: float
    budget: Budget
    key: str | None
    digest: str
    reservation: Reservation | None
    is_open: bool
    is_skewed: bool
    size: int | None = None


forms = st.builds(
    Form,
    user_id=st.sampled_from([*USERS[:1] * 3, *USERS]),
    is_first_lane=_mostly,
    is_first_namespace=_mostly,
    name=st.sampled_from(NAMES),
    content_type=st.sampled_from(CONTENT_TYPES),
    priority=st.sampled_from(Priority),
    delay_s=st.sampled_from([0.0, 0.0, 0.0, 10.0]),
    budget=budgets,
    key=st.sampled_from([None, None, "k1", "k2"]),
    digest=st.sampled_from(["d1", "d1", "d1", "d2"]),
    reservation=reservations,
    is_open=_mostly,
    is_skewed=st.integers(0, 7).map(lambda n: n == 7),
    size=st.sampled_from([None, None, 30, 60]),
)

weights = st.sampled_from([1.0, 1.0, 0.25, 2.0, 4.0])

limits = st.none() | st.builds(
    Limits,
    weight=weights,
    running=st.sampled_from([None, 0, 1, 1, 2]),
    queued=st.sampled_from([None, None, None, 0, 2, 4]),
    stored_bytes=st.sampled_from([None, None, None, 0, 100]),
)

offers = st.builds(
    Offers,
    namespace=st.sampled_from([*NAMESPACES[:1] * 5, *NAMESPACES[1:]]),
    names=st.sampled_from([None, None, None, *(frozenset({name}) for name in NAMES)]),
    content_types=st.sampled_from([None, None, None, frozenset({""})]),
)

lanes = st.sampled_from([LANES, LANES[::-1], LANES[:1], LANES[:1]])

progresses = st.none() | st.builds(Progress, fraction=st.sampled_from([0.25, 0.5]), stage=st.just("processing"))

_failure = Failure(type=FailureType.PROCESSING_ERROR, code="broken_file", message="It is broken.")
_results: st.SearchStrategy[Json] = st.sampled_from([None, "yes", 7, {"n": 2}])


def decision(delay_s: float = 0.0) -> Decision:
    return Decision(strategy=Strategy.RETRY_SAME_WORKER, reason="it may help", delay_s=delay_s)


def publication(document_id: str, title: str) -> Publication:
    return Publication(
        document_id=document_id,
        title=title,
        source="file.pdf",
        content_type=ContentType.DOCUMENT,
        media_type="application/pdf",
        content_hash="hash",
        options_digest="options",
        metadata={},
        chunks=1,
        size_bytes=20,
        document_blob="blob",
        original_blob=None,
    )


_publications = st.none() | st.builds(publication, document_ids, st.sampled_from(["One", "Two"]))

outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Completed, result=_results, publication=_publications),
    st.builds(Completed, result=_results, publication=_publications),
    st.builds(Failed, failure=st.just(_failure), decision=st.just(decision()), needs_attention=st.booleans()),
    st.builds(TimedOut, failure=st.just(_failure), decision=st.just(decision()), needs_attention=st.booleans()),
    st.builds(
        Retried,
        failure=st.just(_failure),
        decision=st.sampled_from([decision(), decision(20.0)]),
        is_infrastructure=st.booleans(),
    ),
)


class Ids:
    """Ids as UUIDv7 gives them: in order of time, but for a clock that was set back."""

    def __init__(self) -> None:
        self._n = 0

    def next(self, *, is_skewed: bool = False) -> str:
        self._n += 1
        time = 1_000_000 + self._n * 10 - (35 if is_skewed else 0)
        return f"{time:08x}-{self._n:04x}-7000-8000-000000000000"


def new_task(form: Form, task_id: str, step: str | None = None) -> NewTask:
    """The task of a drawn form. A child claims no key and no document."""
    return NewTask(
        id=task_id,
        namespace=NAMESPACES[not form.is_first_namespace],
        name=form.name,
        user_id=form.user_id,
        args=_args(form),
        routing=Routing(lane=LANES[not form.is_first_lane]),
        priority=form.priority,
        budget=form.budget,
        delay_s=form.delay_s,
        step=step,
        idempotency_key=None if step else form.key,
        idempotency_digest=form.digest if form.key and not step else None,
        reservation=None if step else form.reservation,
        completed_with=None if form.is_open else {"duplicate_of": "a"},
    )


def _args(form: Form) -> JsonObject:
    kind: JsonObject = {"content_type": form.content_type} if form.content_type else {}
    return kind if form.size is None else {**kind, "source": {"size_bytes": form.size}}


def parked(steps: Sequence[str], form: Form, ids: Ids) -> Parked:
    """Children of those steps, alike but for their ids."""
    return Parked(children=tuple(new_task(form, ids.next(), step) for step in steps))
