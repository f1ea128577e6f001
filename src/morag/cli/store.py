"""`morag backup` and `morag reindex`: act on the data folder itself, without a server."""

import asyncio
from pathlib import Path

from morag.bootstrap import upkeep
from morag.cli.logs import settings_with_quiet_log
from morag.cli.output import answer, answer_json
from morag.cli.progress import board


def backup(destination: Path, *, as_json: bool) -> int:
    """Copy the database and all files; the exit status. Raises InvalidRequest, StartupError."""
    made = asyncio.run(upkeep.backup(settings_with_quiet_log(), destination))
    if as_json:
        answer_json({"backup": str(made)})
    else:
        answer(f"Backed up to {made}.")
        answer(f"It serves as a data folder: MORAG_DATA_DIR={made} morag reindex, then morag serve.")
    return 0


def reindex(*, as_json: bool) -> int:
    """Build the index anew; the exit status. Raises StartupError while a server holds the data folder."""
    with board() as lines:
        line = lines.line("reindex")
        count = asyncio.run(upkeep.reindex(settings_with_quiet_log(), line.at))
        line.done(f"{count} documents")
    if as_json:
        answer_json({"documents": count})
    else:
        answer(f"{count} documents are indexed anew.")
    return 0
