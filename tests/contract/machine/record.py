"""What the model knows of a task and of a document."""

from dataclasses import dataclass, field

from morag.domain.content import Publication
from morag.domain.failure import Failure
from morag.domain.task import NewTask, Progress, Worker

OPEN = {"pending", "running", "waiting"}


@dataclass(slots=True, eq=False)
class Rec:
    """What is known of one task. An attempt is [fence, worker id, outcome]."""

    new: NewTask
    user: str
    parent: str | None
    created: float
    created_steady: float
    ready_at: float
    state: str = "pending"
    due_at: float = float("inf")
    is_ready: bool = False
    lapsed: bool = False
    was_resumed: bool = False
    fence: int = 0
    losses: int = 0
    failures: int = 0
    started: float | None = None
    finished: float | None = None
    finished_steady: float = 0.0
    holder: Worker | None = None
    """Who was granted it last."""
    worker_id: str | None = None
    claim_id: str | None = None
    lease_s: float = 0.0
    lease_until: float = 0.0
    lease_boot: str = ""
    failure: Failure | None = None
    failure_code: str | None = None
    needs_attention: bool = False
    result: object = None
    progress: Progress | None = None
    settled: dict[int, object] = field(default_factory=dict[int, object])
    states: list[str] = field(default_factory=list[str])
    attempts: list[list[object]] = field(default_factory=list[list[object]])

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    def is_held(self, fence: int) -> bool:
        return self.fence == fence and (self.state == "running" or self.lapsed)

    def become(self, state: str) -> None:
        self.state = state
        self.states.append(state)


@dataclass(frozen=True, slots=True)
class Shown:
    """A visible document."""

    publication: Publication
    task_id: str
    fence: int
    created: float
    updated: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What a sweep found before it repaired."""

    lost: list[tuple[str, int, bool]]
    """(task, fence, whether its process is gone)"""
    overdue: list[str]
    has_timers: bool
    is_time_to_note: bool


def reserved(rec: Rec) -> str | None:
    """The document id it took at submit."""
    return rec.new.reservation.document_id if rec.new.reservation else None


def brought(new: NewTask) -> int:
    """Bytes of the source it came with."""
    source = new.args.get("source")
    return int(str(source["size_bytes"])) if isinstance(source, dict) else 0
