"""Why an attempt did not end well, and what was decided then."""

from dataclasses import dataclass
from enum import StrEnum

from morag.domain.json import JsonObject


class FailureType(StrEnum):
    """The seven kinds of failure that decisions are made on."""

    WORKER_OFFLINE = "worker_offline"
    WORKER_OVERLOADED = "worker_overloaded"
    NETWORK_FAILURE = "network_failure"
    TASK_TIMEOUT = "task_timeout"
    PROCESSING_ERROR = "processing_error"
    RESOURCE_EXHAUSTION = "resource_exhaustion"
    AUTHENTICATION_FAILURE = "authentication_failure"


class Strategy(StrEnum):
    """What can be done about a failure."""

    RETRY_SAME_WORKER = "retry_same_worker"
    REASSIGN_SAME_QUEUE = "reassign_same_queue"
    FALLBACK_QUEUE = "fallback_queue"
    DEGRADE_QUALITY = "degrade_quality"
    CIRCUIT_BREAKER = "circuit_breaker"
    MANUAL_INTERVENTION = "manual_intervention"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What went wrong, in words a person can act on."""

    type: FailureType
    code: str
    """Stable, for programs: `broken_file`, `no_text_found`, `child_crashed`, …"""
    message: str
    """One sentence on what happened; no paths of the server, no secrets."""
    hint: str | None = None
    """One sentence on what to do next."""
    is_final: bool = False
    """True when trying again cannot help: the input itself is at fault, or the request."""
    signature: str | None = None
    """Equal for equal errors, so that one broken document is told from one broken worker."""
    stage: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A strategy that was considered and not taken."""

    strategy: Strategy
    why_not: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided after a failure, and why."""

    strategy: Strategy
    reason: str
    delay_s: float = 0.0
    target_worker_id: str | None = None
    target_queue: str | None = None
    options_changed: JsonObject | None = None
    alternatives: tuple[Alternative, ...] = ()


class AttemptFailed(Exception):
    """Raised inside an attempt by whoever already knows what kind of failure it is."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure
