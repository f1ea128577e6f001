"""The chaos driver of the task library, as large as fits into a test."""

import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).parents[2] / "chaos" / "tasks.py"


@pytest.mark.timeout(180)
def test_two_thousand_tasks_survive_a_storm() -> None:
    command = [sys.executable, str(DRIVER), "--tasks", "2000", "--rate", "200", "--pause", "120"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=170)
    assert done.returncode == 0, done.stdout + done.stderr
