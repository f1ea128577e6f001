"""The chaos driver of the task library: a storm that fits into a test, and an account that sees what is wrong."""

import contextlib
import os
import runpy
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CHAOS = Path(__file__).parents[2] / "chaos"
MANY = 20

Account = Callable[[Path, int], Any]


@pytest.mark.timeout(180)
def test_two_thousand_tasks_survive_a_storm() -> None:
    command = [sys.executable, str(CHAOS / "tasks.py"), "--tasks", "2000", "--rate", "200", "--pause", "120"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=170)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def account() -> Account:
    return runpy.run_path(str(CHAOS / "parts" / "account.py"))["account"]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a few tasks left on a quiet day."""
    folder = tmp_path_factory.mktemp("calm")
    (folder / "witness").mkdir()
    subprocess.run(
        [sys.executable, str(CHAOS / "parts" / "app.py"), "submit", str(MANY), "1000"],
        env={**os.environ, "CHAOS_FOLDER": str(folder), "CHAOS_LEASE_S": "30", "MORAG_LOG_LEVEL": "ERROR"},
        check=True,
        timeout=60,
    )
    return folder


COMPLETED = "SELECT id FROM tasks WHERE name = 'quick' AND state = 'completed' LIMIT 1"
DOUBLE_END = """
INSERT INTO events SELECT task_id, seq + 1, at, kind, data FROM events WHERE task_id = :id ORDER BY seq DESC LIMIT 1
"""


@pytest.mark.parametrize(
    ("crime", "told"),
    [
        ("DELETE FROM tasks WHERE id = :id", "is lost"),
        ("UPDATE tasks SET state = 'running' WHERE id = :id", "is running"),
        ("UPDATE tasks SET result = '\"another\"' WHERE id = :id", "did not leave"),
        ("UPDATE tasks SET fence = fence + 1 WHERE id = :id", "committed under fence"),
        ("DELETE FROM attempts WHERE task_id = :id", "ran without a grant"),
        ("UPDATE attempts SET outcome = 'lost' WHERE task_id = :id", "committed 0 times"),
        (DOUBLE_END, "its log says"),
    ],
)
def test_account_sees_a_record_that_was_tampered_with(
    calm: Path, account: Account, tmp_path: Path, crime: str, told: str
) -> None:
    folder = tmp_path / "scene"
    shutil.copytree(calm, folder)
    with contextlib.closing(sqlite3.connect(folder / "data" / "morag.db")) as connection, connection:
        ((task_id,),) = connection.execute(COMPLETED).fetchall()
        assert connection.execute(crime, {"id": task_id}).rowcount == 1
    before, after = account(calm, MANY).violations, account(folder, MANY).violations
    assert [each for each in after if told in each and each not in before]


def test_account_sees_executions_that_nobody_granted_and_tasks_that_nobody_acknowledged(
    calm: Path, account: Account, tmp_path: Path
) -> None:
    folder = tmp_path / "scene"
    shutil.copytree(calm, folder)
    witness = next((folder / "witness").iterdir())
    witness.write_text(witness.read_text() + witness.read_text())
    violations = account(folder, MANY + 1).violations
    assert f"number {MANY} was never acknowledged" in violations
    assert any("ran without a grant, or twice under one" in each for each in violations)
