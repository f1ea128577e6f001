"""`morag worker`: this machine takes its owner's work from a server.

Composes the parts of `morag.worker.remote`; nothing of the server's own is loaded.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import platformdirs

from morag.cli.output import say, shown
from morag.cli.progress import board
from morag.cli.worker_screen import TerminalScreen
from morag.domain.content import ContentType
from morag.domain.errors import MoragError
from morag.protocol import RegisterWorker
from morag.settings import Settings, load
from morag.telemetry import configure, log
from morag.worker.remote.client import Client
from morag.worker.remote.delivery import Delivery
from morag.worker.remote.folder import WorkerFolder
from morag.worker.remote.offer import Offer, find_out, usual_slots
from morag.worker.remote.patience import Patience
from morag.worker.remote.screen import LogScreen, Screen
from morag.worker.remote.session import Session
from morag.worker.remote.spool import Spool
from morag.worker.remote.supervisor import Parts, Supervisor, Terms
from morag.worker.remote.workshop import Workshop
from morag.worker.sandbox.configured import sandbox_for
from morag.worker.sandbox.sandbox import Sandbox

_READABLE_BY_OTHERS = 0o077
_STDIN = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What stood on the command line."""

    server: str | None
    key_file: str | None
    name: str | None
    data_dir: Path | None
    lanes: Sequence[str]
    content_types: Sequence[ContentType]
    slots: int | None
    has_gpu: bool | None
    """None: find out."""
    allow_fetch: bool
    once: bool
    idle_exit_s: float | None


def run(asked: Asked) -> int:
    """Work until told to leave; the exit status. Raises MoragError for what only a person can change."""
    settings = load()
    key = _key(asked.key_file, settings)
    with _screen(settings) as screen:
        asyncio.run(_work(asked, settings, key, screen))
    return 0


async def _work(asked: Asked, settings: Settings, key: str, screen: Screen) -> None:
    folder = WorkerFolder(asked.data_dir or default_folder())
    with folder.locked():
        async with Client(asked.server or settings.server_url, key) as client:
            sandbox = sandbox_for(settings, folder.work)
            starting = asyncio.create_task(sandbox.start())  # takes as long as the machine's tests do
            try:
                offer = await _offer(asked, settings)
                await starting
                machine = _machine(asked, settings, offer, folder.instance_id())
                _tell(machine, offer, client.server)
                supervisor = _supervisor(asked, machine, client, sandbox, folder, screen)
                with _signals(supervisor):
                    await supervisor.run()
            finally:
                await asyncio.wait({starting})
                await sandbox.close()


def _supervisor(
    asked: Asked, machine: RegisterWorker, client: Client, sandbox: Sandbox, folder: WorkerFolder, screen: Screen
) -> Supervisor:
    patience, spool = Patience(screen), Spool(folder.spool)
    parts = Parts(
        client=client,
        session=Session(client, machine, patience, screen),
        patience=patience,
        workshop=Workshop(client, sandbox, spool, folder.incoming, patience),
        delivery=Delivery(client, spool, patience),
        spool=spool,
        screen=screen,
    )
    return Supervisor(parts, Terms(slots=machine.slots, once=asked.once, idle_exit_s=asked.idle_exit_s))


async def _offer(asked: Asked, settings: Settings) -> Offer:
    wanted = set(asked.content_types or ContentType)
    if ContentType.YOUTUBE in asked.content_types and not asked.allow_fetch:
        raise MoragError(
            "youtube is fetched by the worker itself, which you did not allow.",
            code="nothing_to_offer",
            hint="Add --allow-fetch.",
        )
    if not asked.allow_fetch:
        wanted.discard(ContentType.YOUTUBE)
    return await find_out(wanted, is_strict=bool(asked.content_types), whisper_model=settings.whisper_model)


def _machine(asked: Asked, settings: Settings, offer: Offer, instance_id: str) -> RegisterWorker:
    has_gpu = bool(offer.gpus) if asked.has_gpu is None else asked.has_gpu
    kind: Literal["remote_gpu", "remote_cpu"] = "remote_gpu" if has_gpu else "remote_cpu"
    return RegisterWorker(
        name=(asked.name or socket.gethostname() or "worker")[:100],
        instance_id=instance_id,
        version=version("morag"),
        type=kind,
        lanes=list(asked.lanes),
        content_types=list(offer.content_types),
        capabilities=offer.capabilities(),
        slots=1 if asked.once else asked.slots or usual_slots(settings.child_memory_bytes),
        hardware=offer.hardware(),
    )


def _tell(machine: RegisterWorker, offer: Offer, server: str) -> None:
    """Say what is offered: a person reads it before the first job, a machine in the log."""
    if not sys.stderr.isatty():
        log.info(
            "offering",
            name=machine.name,
            type=machine.type,
            content_types=[each.value for each in offer.content_types],
            lacking={each.value: lack for each, lack in offer.lacking.items()},
            slots=machine.slots,
            gpus=list(offer.gpus),
        )
        return
    say(f"MoRAG {machine.version}: {shown(machine.name)} works for {shown(server)}")
    say(f"  offers  {', '.join(offer.content_types)}; {machine.slots} at once, as {machine.type}")
    say(f"  GPU     {shown(', '.join(offer.gpus)) or 'none found'}")
    for content_type, lack in offer.lacking.items():
        say(f"  not     {content_type}: {shown(lack)}")


@contextmanager
def _screen(settings: Settings) -> Generator[Screen]:
    if not sys.stderr.isatty():
        configure(level=settings.log_level)
        yield LogScreen()
        return
    with board() as lines:
        # after the board took over standard error, so that what is logged ends up above the bars
        configure(level=settings.log_level if "log_level" in settings.model_fields_set else "ERROR", stream=sys.stderr)
        yield TerminalScreen(lines)


@contextmanager
def _signals(supervisor: Supervisor) -> Generator[None]:
    """The first one drains, the second gives back what runs."""
    loop = asyncio.get_running_loop()
    heard = 0

    def hear() -> None:
        nonlocal heard
        heard += 1
        supervisor.drain() if heard == 1 else supervisor.let_go()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, hear)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def default_folder() -> Path:
    """Where a worker keeps things unless told otherwise."""
    return Path(platformdirs.user_data_dir("morag-worker", appauthor=False))


def _key(key_file: str | None, settings: Settings) -> str:
    """From the file, standard input for `-`, or MORAG_API_KEY. Raises MoragError."""
    if key_file == _STDIN:
        key = sys.stdin.readline().strip()
    elif key_file:
        key = _read(Path(key_file).expanduser())
    else:
        key = settings.api_key or ""
    if not key:
        raise MoragError(
            "A worker needs an API key.",
            code="no_key",
            hint="`morag keys create --user NAME --scope worker` on the server; --key-file FILE or MORAG_API_KEY here.",
        )
    return key


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace").strip()
        mode = path.stat().st_mode
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise MoragError(f"The key file {path} cannot be read: {reason}.", code="no_key") from None
    if mode & _READABLE_BY_OTHERS:
        say(f"note: other users of this machine can read {path}; `chmod 600` it.")
    return text
