"""The `morag` command: what there is to type, and how errors end.

Each command's work is in a module of its own, imported when the command runs, so that `morag --help` is quick.
Exit status: 0 done, 1 it failed (the reason is on standard error), 2 asked wrongly, 130 interrupted.
"""

import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from morag.cli.output import answer_json, failure_json, say_error
from morag.cli.serve_command import ServeCommand
from morag.cli.worker_command import worker_app
from morag.domain.content import ContentType
from morag.domain.errors import MoragError
from morag.domain.identity import Scope

app = typer.Typer(
    name="morag",
    help="Everything you have as Markdown you can search.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich help takes 0.3 s to load
)

keys_app = typer.Typer(
    help="Make, list, replace and revoke API keys. Acts on the store itself: no server is needed, and one may run.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(keys_app, name="keys")
app.add_typer(worker_app, name="worker")
workers_app = typer.Typer(
    help="List who runs your tasks; pause, resume and drain your machines.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
app.add_typer(workers_app, name="workers")

users_app = typer.Typer(
    help="Who uses how much, and who may; alone: the list. Acts on the store itself: no server is needed.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
app.add_typer(users_app, name="users")


class Mode(StrEnum):
    """How a search ranks."""

    HYBRID = "hybrid"
    DENSE = "dense"
    KEYWORD = "keyword"


AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output, and nothing else there.")]
Options = Annotated[
    list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="Set an option of the converter; repeatable.")
]
Type = Annotated[ContentType | None, typer.Option("--type", help="What it is; told from the bytes if left out.")]
Metadata = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Repeatable; true, false and plain numbers are taken as such."),
]
WorkerId = Annotated[str, typer.Argument(metavar="ID", help="As `morag workers` lists it.", show_default=False)]
KeyId = Annotated[str, typer.Argument(help="The part of the key between the underscores.", show_default=False)]
User = Annotated[str, typer.Argument(show_default=False)]
Cap = Annotated[str | None, typer.Option(metavar="N|none", show_default=False)]
Words = Annotated[list[str], typer.Argument(metavar="FILE|URL", show_default=False)]


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - 20 ms that other commands need not spend

        sys.stdout.write(f"morag {version('morag')}\n")
        raise typer.Exit


@app.callback()
def _common(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(cls=ServeCommand)
def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on (MORAG_HOST).")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one (MORAG_PORT).")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where everything is kept (MORAG_DATA_DIR).")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Conversions at once (MORAG_WORKERS).")] = None,
    log_level: Annotated[str | None, typer.Option(help="DEBUG, INFO, WARNING or ERROR (MORAG_LOG_LEVEL).")] = None,
) -> None:
    """Run the server until Ctrl-C."""
    from morag.cli import serve  # noqa: PLC0415 - brings FastAPI and all behind it

    given = {"host": host, "port": port, "data_dir": data_dir, "workers": workers, "log_level": log_level}
    raise typer.Exit(serve.run(**given))


@app.command()
def process(
    words: Words,
    *,
    folder: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="One .md file per input goes here.")
    ] = None,
    content_type: Type = None,
    option: Options = None,
    overwrite: Annotated[bool, typer.Option(help="Replace files that are in DIR already.")] = False,
    as_json: AsJson = False,
) -> None:
    """Convert files and URLs to Markdown, without a server.

    Everything is done on this machine and nothing is kept.
    """
    from morag.cli import convert  # noqa: PLC0415 - brings the sandbox

    status = convert.run(
        words, folder=folder, content_type=content_type, options=option or (), overwrite=overwrite, as_json=as_json
    )
    raise typer.Exit(status)


@app.command()
def ingest(
    words: Annotated[list[str], typer.Argument(metavar="FILE|DIR|URL", show_default=False)],
    *,
    document_id: Annotated[str | None, typer.Option(help="The id to store it under; for one input.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the document of that id.")] = False,
    metadata: Metadata = None,
    content_type: Type = None,
    option: Options = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="Convert on your GPU machine, if one is there.")] = False,
    remote: Annotated[
        bool, typer.Option("--remote", help="Convert on a machine of yours, one with a GPU first.")
    ] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Submit only; `morag status` tells the rest.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make files, folders and URLs searchable.

    Several go at once, each is followed to its end. Of folders everything that can be converted is taken, hidden
    files aside. The exit status is 1 if any failed. Ctrl-C cancels what has not ended.
    """
    from morag.cli import ingest  # noqa: PLC0415 - brings the HTTP client

    wish = ingest.wish_of(
        document_id=document_id,
        replace=replace,
        metadata=metadata or (),
        options=option or (),
        content_type=content_type,
        gpu=gpu,
        remote=remote,
        no_wait=no_wait,
    )
    raise typer.Exit(ingest.run(words, wish, as_json=as_json))


@app.command()
def search(
    question: Annotated[str, typer.Argument(show_default=False)],
    *,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many hits at most.")] = 10,
    mode: Annotated[Mode, typer.Option(help="By meaning and words, by meaning, or by words.")] = Mode.HYBRID,
    document_id: Annotated[str | None, typer.Option(help="Only in this document.")] = None,
    metadata: Metadata = None,
    as_json: AsJson = False,
) -> None:
    """Find the passages that answer a question, with where they stand."""
    from morag.cli import search  # noqa: PLC0415 - brings the HTTP client

    status = search.run(
        question, limit=limit, mode=mode, document_id=document_id, metadata=metadata or (), as_json=as_json
    )
    raise typer.Exit(status)


@app.command()
def status(
    task: Annotated[str | None, typer.Argument(show_default=False, help="All latest tasks if left out.")] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Watch the task to its end.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many tasks to list.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Tell how a task stands, or list the latest."""
    from morag.cli import status  # noqa: PLC0415 - brings the HTTP client

    if follow and task is None:
        raise typer.BadParameter("Name the task to follow.", param_hint="--follow")
    raise typer.Exit(status.run(task, limit=limit, follow=follow, as_json=as_json))


@app.command()
def cancel(task: Annotated[str, typer.Argument(show_default=False)], *, as_json: AsJson = False) -> None:
    """Cancel a task."""
    from morag.cli import status  # noqa: PLC0415 - brings the HTTP client

    raise typer.Exit(status.cancel(task, as_json=as_json))


@app.command()
def doctor(*, as_json: AsJson = False) -> None:
    """Tell what can be converted here, and what is missing.

    Names the command that brings what is missing, and says how well conversions are confined on this machine.
    """
    from morag.cli import doctor  # noqa: PLC0415 - brings the sandbox

    raise typer.Exit(doctor.run(as_json=as_json))


@app.command()
def backup(
    destination: Annotated[Path, typer.Argument(metavar="DIR", show_default=False)], *, as_json: AsJson = False
) -> None:
    """Copy all there is into a new folder.

    The copy serves as a data folder after `morag reindex`. A server may run meanwhile.
    """
    from morag.cli import store  # noqa: PLC0415 - brings the database

    raise typer.Exit(store.backup(destination, as_json=as_json))


@app.command()
def reindex(*, as_json: AsJson = False) -> None:
    """Build the search index anew; stop the server first.

    Needed after the embedding model was changed, and for a backup that is put to use.
    """
    from morag.cli import store  # noqa: PLC0415 - brings the database

    raise typer.Exit(store.reindex(as_json=as_json))


@keys_app.command("create")
def create_key(
    *,
    user: Annotated[str, typer.Option(help="Whom it is for.")],
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What it may do; repeatable, submit if left out.", show_default=False)
    ] = None,
    description: Annotated[str, typer.Option(help="For people.")] = "",
    expires_days: Annotated[float | None, typer.Option(metavar="N", help="It does not expire if left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once.

    submit: convert, ingest, search. worker: run the user's own work. admin: keys and maintenance, nobody's documents.
    """
    from morag.cli import keys  # noqa: PLC0415 - brings the database

    status = keys.create(
        user, scopes=scope or [Scope.SUBMIT], description=description, expires_days=expires_days, as_json=as_json
    )
    raise typer.Exit(status)


@keys_app.command("list")
def list_keys(
    *, user: Annotated[str | None, typer.Option(help="Only this user's.")] = None, as_json: AsJson = False
) -> None:
    """List keys, newest first; never the keys themselves."""
    from morag.cli import keys  # noqa: PLC0415 - brings the database

    raise typer.Exit(keys.list_(user_id=user, as_json=as_json))


@keys_app.command("revoke")
def revoke_key(key_id: KeyId, *, as_json: AsJson = False) -> None:
    """End a key; within a second it is refused everywhere."""
    from morag.cli import keys  # noqa: PLC0415 - brings the database

    raise typer.Exit(keys.revoke(key_id, as_json=as_json))


@keys_app.command("rotate")
def rotate_key(key_id: KeyId, *, as_json: AsJson = False) -> None:
    """Make the key that replaces another and print it; the old one works for 24 hours more."""
    from morag.cli import keys  # noqa: PLC0415 - brings the database

    raise typer.Exit(keys.rotate(key_id, as_json=as_json))


@users_app.callback()
def list_users(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Tell of each user: live keys, what runs, stands in line and is stored, and the limits.

    `morag users limit USER --running 4` sets some, `morag users unlimit USER` takes all of the user's own back.
    """
    if context.invoked_subcommand is None:
        from morag.cli import users  # noqa: PLC0415 - brings the database

        raise typer.Exit(users.list_(as_json=as_json))


@users_app.command("limit")
def limit_user(
    user: User,
    *,
    requests_per_minute: Cap = None,
    running: Cap = None,
    queued: Cap = None,
    stored_bytes: Cap = None,
    upload_bytes: Cap = None,
    weight: Annotated[float | None, typer.Option(help="Share of what is granted: twice it is twice as often.")] = None,
    as_json: AsJson = False,
) -> None:
    """Set limits of a user; those left out stay as they are now. `anonymous` is who has no key."""
    from morag.cli import users  # noqa: PLC0415 - brings the database

    given = {
        "requests_per_minute": requests_per_minute,
        "running": running,
        "queued": queued,
        "stored_bytes": stored_bytes,
        "upload_bytes": upload_bytes,
    }
    changes = {name: text for name, text in given.items() if text is not None}
    raise typer.Exit(users.limit(user, changes=changes, weight=weight, as_json=as_json))


@users_app.command("unlimit")
def unlimit_user(user: User, *, as_json: AsJson = False) -> None:
    """Take a user's own limits back: those for everybody count (MORAG_USER_…)."""
    from morag.cli import users  # noqa: PLC0415 - brings the database

    raise typer.Exit(users.unlimit(user, as_json=as_json))


@workers_app.callback()
def list_workers(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List who runs your tasks, and what stands in your lanes."""
    from morag.cli import workers  # noqa: PLC0415 - brings the HTTP client

    if context.invoked_subcommand is None:
        raise typer.Exit(workers.list_(as_json=as_json))


@workers_app.command("pause")
def pause_worker(worker: WorkerId, *, as_json: AsJson = False) -> None:
    """Let a machine take nothing new until it is resumed; what it runs goes on."""
    from morag.cli import workers  # noqa: PLC0415 - brings the HTTP client

    raise typer.Exit(workers.tell(worker, "pause", as_json=as_json))


@workers_app.command("resume")
def resume_worker(worker: WorkerId, *, as_json: AsJson = False) -> None:
    """Let a machine take work again."""
    from morag.cli import workers  # noqa: PLC0415 - brings the HTTP client

    raise typer.Exit(workers.tell(worker, "resume", as_json=as_json))


@workers_app.command("drain")
def drain_worker(worker: WorkerId, *, as_json: AsJson = False) -> None:
    """Let a machine finish what it runs and leave."""
    from morag.cli import workers  # noqa: PLC0415 - brings the HTTP client

    raise typer.Exit(workers.tell(worker, "drain", as_json=as_json))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command of the arguments and exit with its status."""
    # ONNX Runtime reports to its maker from its import on, unless told not to before
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        app(words, prog_name="morag")
    except MoragError as error:
        _tell(error, as_json="--json" in words)
        sys.exit(1)
    except BrokenPipeError:
        # whoever read the answer has gone; what Python flushes at the end must not complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _tell(error: MoragError, *, as_json: bool) -> None:
    if as_json:
        answer_json({"error": failure_json(error)})
    say_error(error)
