"""What may happen to the line between a user's machine and the server, and to either: one function each.

Each plays with real processes, sees to it that exactly one result was committed, that nothing was lost and that no
conversion began anew where none had to, and tells its figures. The test suite plays some of them and
`chaos/remote_worker.py` all; what takes long takes longer there.
"""

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.integration.far_place import DAY_S, Json, Place, Worker, markdown, until

LEASE_S = 20.0
LATE_S = LEASE_S + 25.0
"""By then anything that waits for a lease to end has happened, on a machine that is busy too."""
RECOVERED_S = 22.0
"""The longest time from a worker's death until its work is another's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long things last, and how often they are done."""

    cut_s: float = 8.0
    """Shorter than a lease."""
    transfer_bytes: int = 3 * 1024**2
    kills: int = 1


Figures = Mapping[str, float]
Trial = Callable[[Place, Times], Figures]


def latency(place: Place, times: Times) -> Figures:
    """200 ms there and back: work goes on, and large files and results pass."""
    worker = place.first()
    place.line.faults.latency_s = 0.1
    began = time.monotonic()
    _once(place, worker, place.submit())
    small_s = time.monotonic() - began
    _once(place, worker, place.submit(markdown(times.transfer_bytes)))
    return {"small file, s": small_s, "large file and result, s": time.monotonic() - began - small_s}


def resets(place: Place, times: Times) -> Figures:
    """All connections break every two seconds, which is less than a transfer takes."""
    worker, faults, passed = place.first(), place.line.faults, place.line.passed
    task_id = place.submit(markdown(times.transfer_bytes))
    faults.latency_s, faults.loss, faults.bytes_per_s, faults.reset_every_s = 0.02, 0.01, 1024.0**2, 2.0
    _once(place, worker, task_id)
    assert passed.resets >= 2, passed
    down, up = (each / times.transfer_bytes - 1 for each in (passed.to_client_bytes, passed.to_server_bytes))
    return {"resets": passed.resets, "more than the source, %": 100 * down, "more than the result, %": 100 * up}


def silence_during_a_job(place: Place, _times: Times) -> Figures:
    """The line goes half-open while a conversion runs: heartbeats find another way within the lease."""
    worker, line = place.first(), place.line
    with worker.held():
        task_id = place.submit()
        worker.heard("job_started")
        line.silence()
        worker.heard("server_away", wait_s=LEASE_S)
        line.mend()
        mended = time.monotonic()
        worker.heard("server_back", wait_s=LEASE_S)
        back_s = time.monotonic() - mended
    _once(place, worker, task_id)
    return {"back after it is mended, s": back_s}


def silence_while_idle(place: Place, _times: Times) -> Figures:
    """The line goes half-open under a claim that waits: a task granted into the void is not lost."""
    worker, line = place.first(), place.line
    claims = line.asked(b"/claim ")
    _once(place, worker, place.submit())
    until(lambda: line.asked(b"/claim ") > claims, "it claims anew")
    line.silence()
    task_id = place.submit()
    until(lambda: place.status(task_id).get("attempts"), "it was granted")
    line.mend()
    began = time.monotonic()
    worker.heard("job_started", count=2, wait_s=LATE_S)
    started_s = time.monotonic() - began
    attempts = len(place.completed(task_id)["attempts"])
    assert len(worker.events("job_started")) == 2, worker.log()
    return {"begun after it was granted into the void, s": started_s, "attempts": attempts}


def silence_during_a_delivery(place: Place, times: Times) -> Figures:
    """The line goes half-open in the middle of an upload: it goes on over another, from where it was."""
    worker, line = place.first(), place.line
    line.faults.bytes_per_s = 0.5 * 1024**2
    task_id = place.submit(markdown(times.transfer_bytes))
    until(lambda: line.asked(b"PATCH ") >= 2, "its result is on the way")
    line.silence()
    silent = time.monotonic()
    _pass(1.0)
    line.mend()
    _once(place, worker, task_id)
    more = line.passed.to_server_bytes / times.transfer_bytes - 1
    return {"done after, s": time.monotonic() - silent, "more than the result, %": 100 * more}


def short_cut(place: Place, times: Times) -> Figures:
    """The line is cut for less than the lease during a job: the job goes on, and nobody else gets it."""
    worker, line = place.first(), place.line
    with worker.held():
        task_id = place.submit()
        worker.heard("job_started")
        line.cut()
        worker.heard("server_away")
        _pass(times.cut_s)
        line.mend()
        mended = time.monotonic()
        worker.heard("server_back", wait_s=LEASE_S)
        back_s = time.monotonic() - mended
    _once(place, worker, task_id)
    return {"cut, s": times.cut_s, "back after it is mended, s": back_s}


def outage_alone(place: Place, _times: Times) -> Figures:
    """The line is cut for longer than the lease, and nobody else is there: what was begun is finished."""
    worker, line = place.first(), place.line
    with worker.held():
        task_id = place.submit()
        worker.heard("job_started")
        line.cut()
        cut_at = time.monotonic()
        until(lambda: place.status(task_id).get("status") == "pending", "its lease ran out", LATE_S)
        expired_s = time.monotonic() - cut_at
        line.mend()
        worker.heard("server_back", wait_s=LATE_S)
    _once(place, worker, task_id)
    return {"its lease ran out after, s": expired_s}


def outage_with_another(place: Place, _times: Times) -> Figures:
    """Cut off for longer than its lease while another does the task: the late result is refused, and dropped."""
    first, line = place.first(), place.line
    with first.held():
        task_id = place.submit()
        first.heard("job_started")
        second = place.worker().ready()
        line.cut()
        cut_at = time.monotonic()
        second.heard("job_started", wait_s=LATE_S)
        taken_s = time.monotonic() - cut_at
    place.completed(task_id)
    until(lambda: list((first.folder / "spool").glob("*.json")), "the late result is there too")
    line.mend()
    late = first.heard("job_failed", wait_s=LATE_S)
    assert "gave it to another" in late["reason"], late
    done = place.completed(task_id)
    assert [each["outcome"] for each in done["attempts"]] == ["lost", "completed"], done["attempts"]
    until(lambda: first.is_clean() and second.is_clean(), "nothing is left of it")
    return {"another has it after, s": taken_s}


def stopped_worker(place: Place, _times: Times) -> Figures:
    """Stopped past its lease, then let go on as if nothing had been, while another has its task."""
    first = place.first()
    with first.held():
        task_id = place.submit()
        first.heard("job_started")
        second = place.worker().ready()
        first.process.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        with second.held():
            second.heard("job_started", wait_s=LATE_S)
            taken_s = time.monotonic() - stopped
            first.process.send_signal(signal.SIGCONT)
            told = first.heard("job_failed", wait_s=LATE_S)
    assert "gave it to another" in told["reason"], told
    done = place.completed(task_id)
    assert [each["outcome"] for each in done["attempts"]] == ["lost", "completed"], done["attempts"]
    assert first.process.poll() is None
    return {"another has it after, s": taken_s}


def killed_worker(place: Place, times: Times) -> Figures:
    """kill -9 during a job: the next worker has it within 22 s."""
    took: list[float] = []
    for _ in range(times.kills):
        first = place.first()
        with first.held():
            task_id = place.submit()
            first.heard("job_started")
            second = place.worker().ready()
            first.process.kill()
            killed = time.monotonic()
            second.heard("job_started", wait_s=LATE_S)
            took.append(time.monotonic() - killed)
        assert len(place.completed(task_id)["attempts"]) == 2
        place.clear()
    assert max(took) <= RECOVERED_S, took
    return {"kills": len(took), "recovered, median s": sorted(took)[len(took) // 2], "longest s": max(took)}


def killed_server(place: Place, _times: Times) -> Figures:
    """The server is killed and starts again during a job: the conversion goes on."""
    worker = place.first()
    with worker.held():
        task_id = place.submit()
        worker.heard("job_started")
        place.server.stop(signal.SIGKILL)
        worker.heard("server_away")
        place.server.start()
        began = time.monotonic()
        worker.heard("server_back", wait_s=LATE_S)
        back_s = time.monotonic() - began
    _once(place, worker, task_id)
    return {"worker back after the server is, s": back_s}


def twins(place: Place, _times: Times) -> Figures:
    """Two workers with one instance id: the older one stops and says why, and its task is the newer one's."""
    first = place.first()
    copy = place.folder / "copy"
    copy.mkdir()
    (copy / "instance_id").write_text((first.folder / "instance_id").read_text())
    with first.held():
        task_id = place.submit()
        first.heard("job_started")
        began = time.monotonic()
        second = place.worker(name="copy").ready()
        assert first.process.wait(LATE_S) == 1
        stopped_s = time.monotonic() - began
    assert "Another worker with the same instance id took over" in first.log()
    assert "Traceback" not in first.log()
    _once(place, second, task_id, attempts=2)
    return {"the older one stopped after, s": stopped_s}


def full_disk(place: Place, _times: Times) -> Figures:
    """The worker's disk is full when the source comes: told as what it is; done once there is room."""
    worker = place.first()
    worker.limit_files(65_536)
    try:
        task_id = place.submit(markdown(1024**2))
        failed = worker.heard("job_failed")
    finally:
        worker.limit_files(-1)
    assert "worker_disk_full" in failed["reason"], failed
    assert worker.is_clean()
    began = time.monotonic()
    attempts = len(place.completed(task_id)["attempts"])
    assert worker.process.poll() is None
    return {"done after there is room, s": time.monotonic() - began, "attempts": attempts}


def wrong_clock(place: Place, _times: Times) -> Figures:
    """The worker's wall clock is a day ahead: nothing is different, and no time of day crosses the line."""
    worker, line = place.first(), place.line
    assert place.is_ahead(worker)
    with worker.held():
        task_id = place.submit()
        worker.heard("job_started")
        beats = line.asked(b"/heartbeat ")
        until(lambda: line.asked(b"/heartbeat ") > beats, "it says how far it is")
    _once(place, worker, task_id)
    sent = b"".join(line.passed.recorded)
    days = [str(int(time.time()) + day)[:5].encode() for day in (0, DAY_S)]  # the same digits for a day around
    assert not any(mark + day in sent for day in days for mark in (b":", b'"', b" ")), days
    return {"ahead, s": DAY_S}


def _once(place: Place, worker: Worker, task_id: str, attempts: int = 1) -> Json:
    """Committed once, begun once on the worker, and the worker was told so."""
    status = place.completed(task_id)
    until(lambda: any(each["attempt_id"].startswith(task_id) for each in worker.events("job_done")), "it was told")
    begun = [each["attempt_id"] for each in worker.events("job_started") if each["attempt_id"].startswith(task_id)]
    assert begun == [f"{task_id}.{attempts}"], begun
    assert len(status["attempts"]) == attempts, status["attempts"]
    until(worker.is_clean, "nothing is left on the worker")
    return status


def _pass(seconds: float) -> None:
    """Let time go by: how long something lasts is what is tried."""
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() >= end, "time passed", seconds + 10.0)
