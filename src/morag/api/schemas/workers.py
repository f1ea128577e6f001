"""Who runs tasks, and what stands in their lanes."""

from typing import Literal

from pydantic import BaseModel, Field


class WorkerShown(BaseModel):
    """One worker."""

    name: str
    type: Literal["remote_gpu", "remote_cpu", "local"]
    state: Literal["active", "paused", "draining", "suspect", "lost"] = Field(
        description="Suspect: silent for half a lease, nothing new is sent there. Lost: silent for a whole one."
    )
    active_tasks: int = Field(description="As it said last; of the server's own workers, what they run of yours.")
    max_tasks: int
    queues: list[str] = Field(description="The lanes it serves.")
    last_seen_s: float = Field(description="Seconds since it was heard.")
    reliability: float | None = Field(default=None, description="Null: nothing is known yet.")
    breaker: str | None = Field(default=None, description="Null: none is open.")


class Company(BaseModel):
    """The workers, those that are lost left out of the counts."""

    total: int
    gpu: int
    cpu: int
    local: int
    details: dict[str, WorkerShown]


class WorkerLane(BaseModel):
    """A lane: what stands there, what runs from it, and how many serve it now."""

    length: int
    running: int
    workers: int
    oldest_wait_s: float | None


class WorkersStatus(BaseModel):
    """Your workers and lanes."""

    workers: Company
    queues: dict[str, WorkerLane]
    gpu_available: bool = Field(description="Whether a machine with a GPU is there and takes work.")
