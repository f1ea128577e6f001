"""`make demo` as a new user runs it: to the end, and cut short by Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.xdist_group("demo"), pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
FILES = (
    *("report.pdf", "letter.docx", "slides.pptx", "budget.xlsx", "page.html"),
    *("message.eml", "people.csv", "scan.png", "speech.mp3", "clip.mp4"),
)


@contextmanager
def started(temporary: Path) -> Generator[subprocess.Popen[str]]:
    """The demo, running; killed if a test leaves it so."""
    with subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / "demo.py")],
        env=os.environ | {"TMPDIR": str(temporary), "COLUMNS": "100", "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as demo:
        try:
            yield demo
        finally:
            demo.kill()


def read_until(demo: subprocess.Popen[str], is_it: Callable[[str], bool]) -> None:
    assert demo.stdout is not None
    seen: list[str] = []
    for line in demo.stdout:
        seen.append(line)
        if is_it(line):
            return
    pytest.fail("".join(seen))


def assert_gone(family: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []


def test_the_demo_answers_its_five_questions_and_leaves_nothing(tmp_path: Path) -> None:
    with started(tmp_path) as demo:
        told, _ = demo.communicate(timeout=280)
    assert demo.returncode == 0, told
    for name in FILES:
        assert f"  {name:<14} ✓ searchable" in told
        assert f"─ {name} (" in told
    assert "5 of 5 questions found the file that answers them." in told
    for place in ("report.pdf · page", "speech.mp3 · at second", "slides.pptx · slide 2"):
        assert place in told
    assert "morag serve" in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    with started(tmp_path) as demo:
        read_until(demo, lambda line: "✓ searchable" in line)
        family = psutil.Process(demo.pid).children(recursive=True)
        assert family
        demo.send_signal(number)
        demo.send_signal(number)
        began = time.monotonic()
        told, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, told
    assert time.monotonic() - began < 30
    assert "Traceback" not in told
    assert "Interrupted." in told
    assert_gone(family)
    assert list(tmp_path.iterdir()) == []
