"""Users' machines: they register, claim and say how far they are; their owners let them pause, work or leave.

`docs/reference/worker-protocol.md` tells it from a worker's side.
"""

from functools import partial

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from morag.api import leases
from morag.api.access import Machine, OwnerOrMachine, decide
from morag.api.dependencies import CurrentSystem
from morag.control.fleet.gateway import Asked, Held
from morag.domain import worker as domain
from morag.domain.task import Progress
from morag.domain.worker import HEARTBEAT_S, LEASE_S, POLL_S, Readiness
from morag.protocol import (
    PROTOCOL,
    Claimed,
    ClaimWork,
    Directives,
    Heartbeat,
    HeartbeatAnswer,
    Registered,
    RegisterWorker,
    WorkerState,
)

router = APIRouter(prefix="/api/v1/workers", tags=["workers"])


@router.post("", status_code=201)
@router.post("/", status_code=201, include_in_schema=False)
async def register_worker(body: RegisterWorker, caller: Machine, system: CurrentSystem) -> Registered:
    """Register a machine; the same `instance_id` again is the same worker, and ends its session before."""
    if body.protocol != PROTOCOL:
        raise HTTPException(
            426, f"This server speaks version {PROTOCOL} of the worker protocol; install the morag of its version."
        )
    worker = await system.gateway.register(
        caller.user_id,
        domain.Machine(
            name=body.name,
            instance_id=body.instance_id,
            version=body.version,
            kind=body.type,
            lanes=tuple(body.lanes),
            content_types=frozenset(body.content_types),
            capabilities=body.capabilities,
            slots=body.slots,
            hardware=body.hardware,
        ),
    )
    return Registered(
        worker_id=worker.id,
        generation=worker.generation,
        lanes=list(worker.machine.lanes),
        poll_s=POLL_S,
        heartbeat_s=HEARTBEAT_S,
        lease_s=LEASE_S,
    )


@router.post("/{worker_id}/claim", response_model=Claimed, responses={204: {"description": "There was no work."}})
async def claim_work(
    worker_id: str, body: ClaimWork, request: Request, caller: Machine, system: CurrentSystem
) -> Claimed | Response:
    """Wait for work and take it under a lease; 204 if none came. The key is checked again before every grant."""
    worker = await system.registry.known(caller.user_id, worker_id, body.generation)
    asked = Asked(claim_id=body.claim_id, slots=body.slots, wait_s=body.wait_s)
    granted = await leases.unless_gone(
        request, system.gateway.claim(caller.user_id, worker, asked, partial(decide, request))
    )
    if not granted:
        return Response(status_code=204)
    return Claimed(leases=[leases.message(lease, system.settings.timeout_s) for lease in granted])


@router.post("/{worker_id}/heartbeat")
async def heartbeat(worker_id: str, body: Heartbeat, caller: Machine, system: CurrentSystem) -> HeartbeatAnswer:
    """Renew every lease the worker holds and tell how far each is; the answer says which to stop."""
    worker = await system.registry.known(caller.user_id, worker_id, body.generation)
    held = [
        Held(
            attempt_id=each.attempt_id,
            fence=each.fence,
            progress=Progress(fraction=each.progress, stage=each.stage, message=each.message),
        )
        for each in body.leases
    ]
    heard, answers = await system.gateway.heartbeat(worker, held, load=body.load, is_draining=body.state == "draining")
    return HeartbeatAnswer(
        leases={each.attempt_id: leases.ANSWERS[answer] for each, answer in zip(held, answers, strict=True)},
        directives=Directives(
            drain=heard.readiness is Readiness.DRAINING,
            pause=heard.readiness is Readiness.PAUSED,
            heartbeat_s=HEARTBEAT_S,
        ),
    )


@router.post("/{worker_id}/drain")
async def drain_worker(worker_id: str, caller: OwnerOrMachine, system: CurrentSystem) -> WorkerState:
    """Let a worker finish what it runs, take nothing new, and leave."""
    return _state(await system.registry.set_readiness(caller.user_id, worker_id, Readiness.DRAINING))


@router.post("/{worker_id}/pause")
async def pause_worker(worker_id: str, caller: OwnerOrMachine, system: CurrentSystem) -> WorkerState:
    """Let a worker take nothing new until it is resumed."""
    return _state(await system.registry.set_readiness(caller.user_id, worker_id, Readiness.PAUSED))


@router.post("/{worker_id}/resume")
async def resume_worker(worker_id: str, caller: OwnerOrMachine, system: CurrentSystem) -> WorkerState:
    """Let a worker take work again."""
    return _state(await system.registry.set_readiness(caller.user_id, worker_id, Readiness.ACTIVE))


@router.delete("/{worker_id}", status_code=204)
async def remove_worker(worker_id: str, caller: OwnerOrMachine, system: CurrentSystem) -> Response:
    """Let a worker leave; what it still holds goes back to its lane."""
    await system.gateway.leave(caller.user_id, worker_id)
    return Response(status_code=204)


def _state(worker: domain.RemoteWorker) -> WorkerState:
    return WorkerState(worker_id=worker.id, state=worker.readiness.value)
