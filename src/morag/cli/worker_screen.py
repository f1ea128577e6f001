"""A worker on a terminal: a live line per job, and above them what lasts."""

from time import monotonic

from morag.cli.output import say, shown
from morag.cli.progress import Board, Line
from morag.domain.errors import MoragError
from morag.protocol import LeaseMessage, Registered
from morag.worker.remote.workshop import title


class TerminalScreen:
    """Tells a person. Lines said while bars are shown end up above them."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._away_since = 0.0

    def registered(self, session: Registered) -> None:
        """The server took it in."""
        say(f"registered as {shown(session.worker_id)}, serving {shown(', '.join(session.lanes))}")
        say("waiting for work; Ctrl-C finishes what runs and leaves, a second one gives it back")

    def away(self, error: MoragError) -> None:
        """The server cannot be reached."""
        self._away_since = monotonic()
        say(f"server away: {shown(error.message)} Asking again until it is back." + _hinted(error))

    def back(self) -> None:
        """It can again."""
        say(f"server back after {monotonic() - self._away_since:.0f} s")

    def paused(self, *, is_paused: bool) -> None:
        """The owner wants nothing new begun, or wants it again."""
        say("paused by its owner: nothing new is taken" if is_paused else "resumed")

    def leaving(self, why: str) -> None:
        """Nothing new is taken."""
        say(f"leaving: {why}")

    def job(self, lease: LeaseMessage) -> Line:
        """A job begins."""
        return self._board.line(title(lease))

    def left_over(self, name: str) -> Line:
        """A result is offered again."""
        return self._board.line(name)


def _hinted(error: MoragError) -> str:
    return f" {shown(error.hint)}" if error.hint else ""
