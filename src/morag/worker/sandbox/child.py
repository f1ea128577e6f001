"""The program a conversion runs in: `python -m morag.worker.sandbox.child`, started, told and watched by the sandbox.

It binds itself first, then loads what it needs: libraries start threads when loaded, and only threads started
afterwards are bound. It takes jobs as lines on its standard input and ends when that does.
"""

import importlib
import os
import queue
import signal
import sys
import threading
from collections.abc import Sequence
from typing import BinaryIO

from morag.worker.sandbox.confinement import Bounds, confine


def main(arguments: Sequence[str]) -> None:
    """Serve jobs until standard input ends; told the bounds, `module:function`, and modules to load beforehand."""
    bounds, converter, *preload = arguments
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what libraries print is no answer
    confine(Bounds.decode(bounds))
    jobs = _listen(sys.stdin.buffer)
    serving = importlib.import_module("morag.worker.sandbox.serving")
    serving.serve(jobs, answers, converter=converter, preload=preload)


def _listen(lines: BinaryIO) -> "queue.SimpleQueue[bytes]":
    """Jobs as they come. Read in a thread, so that a parent gone is noticed while a converter runs."""
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        for line in lines:
            jobs.put(line)
        _end_group()

    threading.Thread(target=read, name="stdin", daemon=True).start()
    return jobs


def _end_group() -> None:
    try:
        os.killpg(0, signal.SIGKILL)
    finally:  # the first process of a namespace outlives the signals of its own
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
