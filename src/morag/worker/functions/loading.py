"""Whether this process is a child that runs functions, and whether it is only loading the module of one."""

import sys
from collections.abc import Generator
from contextlib import contextmanager

from morag.domain.errors import StartupError

PROGRAM = ["-m", "morag.worker.functions.call"]
"""What Python is told to run a child; names of modules to load ahead may follow."""

_under_way: list[str] = []


def is_child() -> bool:
    """Whether this process is one, so that what an application's module makes for others only can be left out."""
    return sys.orig_argv[1 : 1 + len(PROGRAM)] == PROGRAM


@contextmanager
def loading(module: str) -> Generator[None]:
    """For the time of the block, the application's module is imported to find a function, and nothing else."""
    _under_way.append(module)
    try:
        yield
    finally:
        _under_way.remove(module)


def refuse_while_loading() -> None:
    """Raise StartupError while a module is loaded: its main part would do here once more what its program does."""
    if _under_way:
        raise StartupError(
            f"{_under_way[-1]} opens its tasks while a child process loads it to find a heavy function.",
            code="main_not_guarded",
            hint='Put what only the program itself is to do under `if __name__ == "__main__":`.',
        )
