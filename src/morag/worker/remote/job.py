"""One lease while it is worked on: how far it is, for heartbeats and people, and how it is stopped."""

import asyncio
from dataclasses import dataclass

from morag.protocol import HeldMessage, LeaseMessage
from morag.worker.remote.delivery import SETTLING
from morag.worker.remote.screen import JobLine

DELIVERING = "delivering"
"""The stage after the conversion: its result is on disk."""


@dataclass(slots=True, kw_only=True)
class Job:
    """A lease being worked on."""

    lease: LeaseMessage
    line: JobLine
    task: "asyncio.Task[None] | None" = None
    told: str | None = None
    """Why it was stopped, once it was."""
    is_released: bool = False
    fraction: float = 0.0
    stage: str = ""
    message: str = ""

    def report(self, fraction: float, stage: str, message: str) -> None:
        """It is so far."""
        self.fraction, self.stage, self.message = fraction, stage, message
        self.line.at(fraction, stage, message)

    def deliver(self, message: str) -> None:
        """It is converted and on its way."""
        self.report(1.0, DELIVERING, message)

    def lose(self) -> None:
        """The server takes nothing for it any more: because another has it, or because it just took the result."""
        if self.message != SETTLING:
            self.stop("the server gave it to another")

    def stop(self, why: str) -> None:
        """End it, with its child."""
        if self.told is None and self.task:
            self.told = why
            self.task.cancel()

    def held(self) -> HeldMessage:
        """The lease as heartbeats tell of it."""
        return HeldMessage(
            attempt_id=self.lease.attempt_id,
            fence=self.lease.fence,
            stage=self.stage[:100],
            progress=min(max(self.fraction, 0.0), 1.0),
            message=self.message[:500],
        )
