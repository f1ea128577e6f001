"""Workers and their lanes as callers are shown them: users' machines out of the registry, and the server's own."""

from collections.abc import Mapping, Sequence

from morag.api.schemas.workers import Company, WorkerLane, WorkerShown, WorkersStatus
from morag.control.fleet.registry import lanes_of
from morag.control.ports import LaneLoad
from morag.domain.identity import LOCAL_LANE
from morag.domain.worker import Presence, RemoteWorker

EMPTY = LaneLoad(length=0, running=0, oldest_wait_s=None)


def local_worker(*, running: int, slots: int) -> WorkerShown:
    """The server itself, as a worker."""
    return WorkerShown(
        name="this server",
        type="local",
        state="active",
        active_tasks=running,
        max_tasks=slots,
        queues=[LOCAL_LANE],
        last_seen_s=0.0,
    )


def status(
    local: Mapping[str, WorkerShown],
    machines: Sequence[RemoteWorker],
    loads: Mapping[str, LaneLoad],
    *,
    user_id: str | None,
    now: float,
) -> WorkersStatus:
    """All of them together; the lanes of `user_id` are there also while nothing stands in them."""
    details = {**local, **{machine.id: _shown(machine, now) for machine in machines}}
    there = [each for each in details.values() if each.state != "lost"]
    kinds = [each.type for each in there]
    own = lanes_of(user_id, "remote_gpu") if user_id else []
    lanes = [LOCAL_LANE, *own, *(lane for each in details.values() for lane in each.queues), *loads]
    return WorkersStatus(
        workers=Company(
            total=len(there),
            gpu=kinds.count("remote_gpu"),
            cpu=kinds.count("remote_cpu"),
            local=kinds.count("local"),
            details=details,
        ),
        queues={lane: _lane(loads.get(lane, EMPTY), lane, there) for lane in dict.fromkeys(lanes)},
        gpu_available=any(each.type == "remote_gpu" and each.state == "active" for each in there),
    )


def _lane(load: LaneLoad, lane: str, there: Sequence[WorkerShown]) -> WorkerLane:
    return WorkerLane(
        length=load.length,
        running=load.running,
        workers=sum(lane in each.queues for each in there),
        oldest_wait_s=load.oldest_wait_s,
    )


def _shown(worker: RemoteWorker, now: float) -> WorkerShown:
    presence = worker.presence(now)
    return WorkerShown(
        name=worker.machine.name,
        type=worker.machine.kind,
        state=worker.readiness.value if presence is Presence.ALIVE else presence.value,
        active_tasks=worker.held,
        max_tasks=worker.machine.slots,
        queues=list(worker.machine.lanes),
        last_seen_s=round(max(now - worker.seen_at, 0.0), 3),
    )
