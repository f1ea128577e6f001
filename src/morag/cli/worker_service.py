"""`morag worker install-service`: a systemd user unit that runs a worker, without root and without a key in it."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from morag.cli.output import answer, say
from morag.domain.errors import MoragError

UNIT = "morag-worker.service"
_TEMPLATE = """\
[Unit]
Description=MoRAG worker
Wants=network-online.target
After=network-online.target

[Service]
ExecStart={command}
# 1 and 2 say what only a person can change; everything else, a crash or a kill, is no reason to stay away
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=1 2
# SIGTERM lets the worker finish what it runs
KillMode=mixed
TimeoutStopSec=10min

[Install]
WantedBy=default.target
"""


def install(words: Sequence[str], *, key_file: str | None, is_printed: bool) -> int:
    """Write the unit that runs `morag worker` with these words, or print it; the exit status. Raises MoragError."""
    if not key_file or key_file == "-":
        raise MoragError(
            "A service reads its key from a file.",
            code="no_key",
            hint="Write the key to a file and name it: --key-file.",
        )
    path = Path(key_file).expanduser().absolute()
    text = unit([sys.executable, "-m", "morag", "worker", *words, "--key-file", str(path)])
    if is_printed:
        answer(text.rstrip("\n"))
        return 0
    target = _folder() / UNIT
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise MoragError(f"{target} cannot be written: {reason}.", code="cannot_write") from None
    say(f"Wrote {target}. Now:")
    say(f"    systemctl --user daemon-reload && systemctl --user enable --now {UNIT}")
    say(f"    journalctl --user -u {UNIT} -f      what it does")
    say("    loginctl enable-linger              to run while nobody is logged in")
    if not shutil.which("systemctl"):
        say("note: this machine has no systemctl; the unit is for one that has.")
    return 0


def unit(command: Sequence[str]) -> str:
    """The text of the unit that runs a command."""
    return _TEMPLATE.format(command=" ".join(map(_quoted, command)))


def _quoted(word: str) -> str:
    """As systemd splits words: quoted, its escapes and specifiers doubled."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if not escaped or any(each.isspace() or each in "\"';" for each in escaped) else escaped


def _folder() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "systemd" / "user"
