"""What a worker tells of itself while it works: JSON logs here; the lines of a terminal are the command's."""

from typing import Protocol

from morag.domain.errors import MoragError
from morag.protocol import LeaseMessage, Registered
from morag.telemetry import log


class JobLine(Protocol):
    """The line of one job."""

    def at(self, fraction: float, stage: str, message: str) -> None:
        """It is so far: `fraction` 0 to 1."""
        ...

    def done(self, text: str) -> None:
        """It is finished and the server has it; `text` says with what."""
        ...

    def failed(self, text: str) -> None:
        """It is not going to be finished here; `text` says why."""
        ...


class Screen(Protocol):
    """Where a worker tells what happens."""

    def registered(self, session: Registered) -> None:
        """The server took it in."""
        ...

    def away(self, error: MoragError) -> None:
        """The server cannot be reached, and is asked again until it can."""
        ...

    def back(self) -> None:
        """It can."""
        ...

    def paused(self, *, is_paused: bool) -> None:
        """The owner wants nothing new begun, or wants it again."""
        ...

    def leaving(self, why: str) -> None:
        """Nothing new is taken; what runs is finished."""
        ...

    def job(self, lease: LeaseMessage) -> JobLine:
        """A job begins: its line."""
        ...

    def left_over(self, name: str) -> JobLine:
        """A result that an earlier session could not deliver is offered again: its line."""
        ...


class LogScreen:
    """Events with fields, for machines and for whoever reads their logs later."""

    def registered(self, session: Registered) -> None:
        """The server took it in."""
        log.info("registered", worker_id=session.worker_id, generation=session.generation, lanes=session.lanes)

    def away(self, error: MoragError) -> None:
        """The server cannot be reached."""
        log.warning("server_away", code=error.code, reason=error.message, hint=error.hint)

    def back(self) -> None:
        """It can again."""
        log.info("server_back")

    def paused(self, *, is_paused: bool) -> None:
        """The owner wants nothing new begun, or wants it again."""
        log.info("paused" if is_paused else "resumed")

    def leaving(self, why: str) -> None:
        """Nothing new is taken."""
        log.info("leaving", why=why)

    def job(self, lease: LeaseMessage) -> "LogLine":
        """A job begins."""
        log.info("job_started", attempt_id=lease.attempt_id, content_type=lease.content_type.value)
        return LogLine(lease.attempt_id)

    def left_over(self, name: str) -> "LogLine":
        """A result is offered again."""
        log.info("result_offered_again", attempt_id=name)
        return LogLine(name)


class LogLine:
    """One job in the log: its stages once each, and its end."""

    def __init__(self, attempt_id: str) -> None:
        self._attempt_id, self._stage = attempt_id, ""

    def at(self, fraction: float, stage: str, message: str) -> None:
        """A log has no use for every percent."""
        if stage != self._stage:
            self._stage = stage
            log.info("job_stage", attempt_id=self._attempt_id, stage=stage, progress=fraction, message=message)

    def done(self, text: str) -> None:
        """It is finished."""
        log.info("job_done", attempt_id=self._attempt_id, told=text)

    def failed(self, text: str) -> None:
        """It is not going to be finished here."""
        log.warning("job_failed", attempt_id=self._attempt_id, reason=text)
