"""What there is to type after `morag worker`; light, as all of `morag --help`."""

import re
from pathlib import Path
from typing import Annotated

import typer

from morag.domain.content import ContentType

worker_app = typer.Typer(
    help="Take your own work from a server, on a machine of yours.",
    rich_markup_mode=None,
    invoke_without_command=True,
)

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*([smh]?)")

Server = Annotated[str | None, typer.Option(metavar="URL", help="https://… of the server (MORAG_SERVER_URL).")]
KeyFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Holds the key, of scope worker; - reads standard input (MORAG_API_KEY)."),
]
Name = Annotated[str | None, typer.Option(help="What its owner sees; the host name if left out.")]
DataDir = Annotated[Path | None, typer.Option(help="Its own folder: who it is, and results not delivered yet.")]
Lanes = Annotated[str | None, typer.Option(help="Comma-separated; all of yours if left out.")]
Types = Annotated[str | None, typer.Option(help="Comma-separated; all that pass the machine's tests if left out.")]
Slots = Annotated[int | None, typer.Option(min=1, max=64, help="Jobs at once; told from cores and memory.")]
Gpu = Annotated[
    bool | None, typer.Option("--gpu/--cpu", help="Serve your GPU lane too, or not; found out if left out.")
]
AllowFetch = Annotated[bool, typer.Option("--allow-fetch", help="Let it fetch what you ask for from YouTube.")]
Once = Annotated[bool, typer.Option("--once", help="Do one job and leave.")]
IdleExit = Annotated[str | None, typer.Option(metavar="TIME", help="Leave after so long without a job: 90s, 10m, 2h.")]


@worker_app.callback()
def work(
    context: typer.Context,
    *,
    server: Server = None,
    key_file: KeyFile = None,
    name: Name = None,
    data_dir: DataDir = None,
    lanes: Lanes = None,
    content_types: Types = None,
    slots: Slots = None,
    gpu: Gpu = None,
    allow_fetch: AllowFetch = False,
    once: Once = False,
    idle_exit: IdleExit = None,
) -> None:
    """Take your own work from a server, on a machine of yours.

    It tests what this machine can convert and offers that. Ctrl-C or SIGTERM finishes what runs and leaves, a second
    one gives it back. It stays while the server is away, and keeps what it could not deliver.
    """
    if context.invoked_subcommand:
        return
    from morag.cli import worker  # noqa: PLC0415 - brings the sandbox and the HTTP client

    asked = worker.Asked(
        server=server,
        key_file=key_file,
        name=name,
        data_dir=data_dir,
        lanes=_listed(lanes),
        content_types=[_content_type(word) for word in _listed(content_types)],
        slots=slots,
        has_gpu=gpu,
        allow_fetch=allow_fetch,
        once=once,
        idle_exit_s=seconds(idle_exit) if idle_exit else None,
    )
    raise typer.Exit(worker.run(asked))


@worker_app.command("install-service")
def install_service(
    *,
    server: Annotated[str, typer.Option(metavar="URL", help="https://… of the server.")],
    key_file: Annotated[str, typer.Option(metavar="FILE", help="Holds the key; the service reads it at each start.")],
    name: Name = None,
    data_dir: DataDir = None,
    lanes: Lanes = None,
    content_types: Types = None,
    slots: Slots = None,
    gpu: Gpu = None,
    allow_fetch: AllowFetch = False,
    is_printed: Annotated[bool, typer.Option("--print", help="Print the unit and write nothing.")] = False,
) -> None:
    """Write a systemd unit of your user that runs the worker."""
    from morag.cli import worker_service  # noqa: PLC0415 - only here

    for word in _listed(content_types):
        _content_type(word)
    told: dict[str, object] = {
        "--server": server,
        "--name": name,
        "--data-dir": data_dir.expanduser().absolute() if data_dir else None,
        "--lanes": lanes,
        "--content-types": content_types,
        "--slots": slots,
    }
    words = [str(word) for option, value in told.items() if value is not None for word in (option, value)]
    flags = [*({None: [], True: ["--gpu"], False: ["--cpu"]}[gpu]), *(["--allow-fetch"] if allow_fetch else [])]
    raise typer.Exit(worker_service.install([*words, *flags], key_file=key_file, is_printed=is_printed))


def seconds(word: str) -> float:
    """`90s`, `10m`, `2h`, or plain seconds. Raises BadParameter."""
    found = _DURATION.fullmatch(word.strip().lower())
    if not found:
        raise typer.BadParameter(f"{word!r} is no time, such as 90s, 10m or 2h.", param_hint="--idle-exit")
    return float(found[1]) * _UNITS[found[2] or "s"]


def _listed(words: str | None) -> list[str]:
    return [word.strip() for word in (words or "").split(",") if word.strip()]


def _content_type(word: str) -> ContentType:
    try:
        return ContentType(word.lower())
    except ValueError:
        known = ", ".join(ContentType)
        raise typer.BadParameter(f"{word!r} is none of {known}.", param_hint="--content-types") from None
