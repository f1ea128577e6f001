"""`morag doctor`: what can be converted here, what is missing and the command that brings it, and how safe it is."""

import asyncio
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

from morag.bootstrap.standalone import embedding_model
from morag.cli.addresses import without_credentials
from morag.cli.client import client_of
from morag.cli.logs import settings_with_quiet_log
from morag.cli.output import answer, answer_json, table
from morag.domain.errors import MoragError
from morag.domain.json import Json, JsonObject
from morag.pipeline.conversion.registry import FORMATS, available, install_command, missing
from morag.pipeline.conversion.speech_models import choose
from morag.settings import GIB, Settings, unused_notes
from morag.worker.sandbox.probe import describe, probe

_OLDEST_PYTHON = (3, 11)
_MARKS = {"ok": "ok", "note": "note", "bad": "BAD"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at: `verdict` is ok, note (it works, know this) or bad (it will not work)."""

    name: str
    verdict: str
    told: str
    hint: str | None = None


def run(*, as_json: bool) -> int:
    """Look at everything and tell; the exit status: 1 if something is bad."""
    settings = settings_with_quiet_log()
    checks = [
        *_machine(),
        *_folder(settings),
        *_settings(),
        *_models(settings),
        *_confinement(),
        asyncio.run(_server(settings)),
    ]
    if as_json:
        looked_at: list[Json] = [asdict(check) for check in checks]
        answer_json({"version": version("morag"), "checks": looked_at, "formats": [*_formats()]})
    else:
        answer("\n".join(lines_of(checks)))
    return 1 if any(check.verdict == "bad" for check in checks) else 0


def lines_of(checks: list[Check]) -> list[str]:
    """All of it as a person reads it."""
    lines = [f"MoRAG {version('morag')}", ""]
    for check in checks:
        lines.append(f"{_MARKS[check.verdict]:<6}{check.name:<12}{check.told}")
        if check.hint:
            lines.append(f"{'':<18}→ {check.hint}")
    rows = [_row(each) for each in _formats()]
    return [*lines, "", *table(("CONVERTS", "FILES", "HERE", "WHAT BRINGS IT"), rows)]


def _formats() -> list[JsonObject]:
    return [
        {
            "name": entry.name,
            "content_type": entry.content_type.value,
            "media_type": entry.media_type,
            "extensions": list(entry.extensions),
            "available": available(entry),
            "missing": list(missing(entry)),
            "command": None if available(entry) else install_command(entry),
        }
        for entry in FORMATS
    ]


def _row(entry: JsonObject) -> tuple[str, ...]:
    extensions, lacking = entry["extensions"], entry["missing"]
    files = " ".join(map(str, extensions)) if isinstance(extensions, list) else ""
    here = "yes" if entry["available"] else f"no: {', '.join(map(str, lacking)) if isinstance(lacking, list) else ''}"
    return (str(entry["name"]), files or "links", here, str(entry["command"] or ""))


def _machine() -> list[Check]:
    version = platform.python_version()
    is_new_enough = sys.version_info >= _OLDEST_PYTHON
    memory = psutil.virtual_memory()
    return [
        Check(
            name="python",
            verdict="ok" if is_new_enough else "bad",
            told=f"{version} on {platform.system()} {platform.machine()}",
            hint=None if is_new_enough else "MoRAG needs Python 3.11 or newer.",
        ),
        Check(
            name="machine",
            verdict="ok",
            told=f"{psutil.cpu_count() or 1} cores, {memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free",
        ),
    ]


def _folder(settings: Settings) -> list[Check]:
    """The data folder, or the nearest folder above it that exists."""
    folder = settings.data_dir
    near = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not _is_writable(near):
        hint = "Set MORAG_DATA_DIR to a folder that you own, or may make."
        return [Check(name="data", verdict="bad", told=f"{folder} cannot be written", hint=hint)]
    there = "is there" if folder.exists() else "will be made"
    free = shutil.disk_usage(near).free
    is_low = free < settings.min_free_bytes
    return [
        Check(name="data", verdict="ok", told=f"{folder} {there}"),
        Check(
            name="disk",
            verdict="bad" if is_low else "ok",
            told=f"{free / GIB:.1f} GiB free",
            hint=f"Uploads are refused below {settings.min_free_bytes / GIB:.1f} GiB (MORAG_MIN_FREE_BYTES)."
            if is_low
            else None,
        ),
    ]


def _settings() -> list[Check]:
    """What is set and changes nothing."""
    return [Check(name="settings", verdict="note", told=note) for note in unused_notes()]


def _models(settings: Settings) -> list[Check]:
    """Those that the settings name: without the one no server starts, without the other no speech is heard."""
    checks: list[Check] = []
    try:
        checks.append(Check(name="embedding", verdict="ok", told=embedding_model(settings)))
    except MoragError as error:
        checks.append(Check(name="embedding", verdict="bad", told=error.message, hint=error.hint))
    try:
        choose(settings.whisper_model)
    except MoragError as error:
        checks.append(Check(name="speech", verdict="note", told=error.message, hint=error.hint))
    return checks


def _is_writable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _confinement() -> list[Check]:
    return [
        Check(name=subject, verdict="ok" if is_enforced else "note", told=told)
        for subject, is_enforced, told in describe(probe())
    ]


async def _server(settings: Settings) -> Check:
    try:
        async with client_of(settings) as client:
            await client.get("/health/ready")
    except MoragError as error:
        return Check(name="server", verdict="note", told=error.message, hint=error.hint)
    return Check(name="server", verdict="ok", told=f"answers at {without_credentials(settings.server_url)}")
