"""Which application a manager belongs to, if it does not say so: the module that made it."""

import re
import sys
from pathlib import Path
from types import FrameType

from morag.domain.errors import InvalidRequest

SERVER = "morag"
"""The server's own tasks."""

_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def checked(namespace: str) -> str:
    """The namespace itself. Raises InvalidRequest."""
    if not _NAMESPACE.fullmatch(namespace) or namespace == SERVER:
        raise InvalidRequest(
            f"{namespace!r} cannot be a namespace.",
            code="bad_namespace",
            hint="Use letters, digits, `_`, `-` and `.`, at most 128; `morag` is the server's own.",
            field="namespace",
        )
    return namespace


def of_caller(frame: FrameType | None) -> str:
    """The module a frame belongs to; of a program's main file its name."""
    module = str(frame.f_globals.get("__name__", "")) if frame else ""
    if module not in {"__main__", "__mp_main__", ""}:
        return module
    main = sys.modules["__main__"]
    spec = main.__spec__
    return spec.name if spec else Path(str(getattr(main, "__file__", "application"))).stem
