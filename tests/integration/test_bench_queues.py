"""The measurement beside other task queues runs to its end, and leaves no process behind."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil

SCRIPT = Path(__file__).parents[2] / "bench/queues.py"
SMALL = ("--n", "50", "--reps", "1", "--speed-only")


def test_ours_and_celery_are_measured_in_one_run(tmp_path: Path) -> None:
    kept = tmp_path / "figures.json"
    command = [sys.executable, str(SCRIPT), *SMALL, "--systems", "morag_embedded,celery_redis", "--json", str(kept)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert said.returncode == 0, said.stderr
    (figures,) = json.loads(kept.read_text())["repetitions"]
    for system in ("morag_embedded", "celery_redis"):
        assert f"| {system} |" in said.stdout
        assert figures[system]["n"] == figures[system]["latencies"] == 50
        assert all(figures[system][key] > 0 for key in ("tasks_64_per_s", "tasks_256_per_s", "drain_per_s", "p50_ms"))
    assert "x Celery + Redis (≥ 10)" in said.stdout


def test_an_interrupted_run_ends_what_it_started(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), *SMALL, "--systems", "dramatiq_redis"]
    with subprocess.Popen(command, env={"TMPDIR": str(tmp_path)}, stderr=subprocess.DEVNULL, text=True) as script:
        script_itself = psutil.Process(script.pid)
        while len(started := script_itself.children(recursive=True)) < 4:
            assert script.poll() is None
        script.send_signal(signal.SIGINT)
    gone, alive = psutil.wait_procs(started, timeout=10)
    assert len(gone) >= 4
    assert not alive
    assert not list(tmp_path.iterdir())
