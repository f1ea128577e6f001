"""Machines that run tasks for their owner: who they are, what they offer, whether they are there.

A machine registers, and from then on is heard by its heartbeats. Half a lease of silence makes it suspect (nothing new
is sent to it), a whole one lost; when it is heard again it is back. Times are the server's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from morag.domain.content import ContentType
from morag.domain.json import Json, JsonObject

WorkerKind = Literal["remote_gpu", "remote_cpu"]

LEASE_S = 20.0
"""Of a task at a remote worker: so long after its last heartbeat it may be granted to another."""
HEARTBEAT_S = 5.0
POLL_S = 25.0
"""The longest a claim waits for work."""


class Presence(StrEnum):
    """Whether a worker is there, by when it was heard."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    LOST = "lost"


class Readiness(StrEnum):
    """Whether a worker wants work, by what it or its owner said."""

    ACTIVE = "active"
    PAUSED = "paused"
    """By its owner, until resumed: what runs goes on."""
    DRAINING = "draining"
    """Finishes what runs and leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Where a user wants a conversion done."""

    gpu: bool = False
    """On their GPU machine."""
    remote: bool = False
    """On any machine of theirs, one with a GPU first."""
    fallback_to_local: bool = True
    """Whether the server may do it if none of theirs can."""

    def as_json(self) -> JsonObject:
        """As a task's arguments carry it."""
        return {"gpu": self.gpu, "remote": self.remote, "fallback_to_local": self.fallback_to_local}

    @classmethod
    def of(cls, value: Json) -> "Wish":
        """From a task's arguments; what is not there is not wished."""
        told = value if isinstance(value, dict) else {}
        return cls(
            gpu=told.get("gpu") is True,
            remote=told.get("remote") is True,
            fallback_to_local=told.get("fallback_to_local") is not False,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a worker says of itself when it registers."""

    name: str
    instance_id: str
    """Kept on its disk, so that the same machine is the same worker after a restart."""
    version: str
    kind: WorkerKind
    lanes: Sequence[str]
    """Always its owner's own."""
    content_types: frozenset[ContentType]
    capabilities: JsonObject
    slots: int
    hardware: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteWorker:
    """A registered worker."""

    id: str
    user_id: str
    machine: Machine
    generation: int
    """One more each time it registers; what an older session says is not heard any more."""
    readiness: Readiness
    registered_at: float
    """Seconds since the epoch, as the one below."""
    seen_at: float
    load: JsonObject
    held: int
    """Leases it said it holds, at its last heartbeat."""

    def presence(self, now: float) -> Presence:
        """Whether it is there at `now`."""
        silence_s = now - self.seen_at
        if silence_s >= LEASE_S:
            return Presence.LOST
        return Presence.SUSPECT if silence_s >= LEASE_S / 2 else Presence.ALIVE
