"""Whether the server lives, and whether it can work."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from morag.api.access import OPEN
from morag.api.dependencies import CurrentSystem
from morag.domain.errors import MoragError

router = APIRouter(prefix="/health", tags=["health"], dependencies=[OPEN])


class Live(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Whether requests can be done, and what an operator should know."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, str]
    notes: list[str]


@router.head("/live", include_in_schema=False)
@router.get("/live")
async def live() -> Live:
    """The process answers."""
    return Live()


@router.head("/ready", include_in_schema=False)
@router.get("/ready")
async def ready(system: CurrentSystem, response: Response) -> Ready:
    """200 if requests can be done, else 503."""
    try:
        health = await system.health()
    except MoragError as error:
        response.status_code = 503
        return Ready(status="unavailable", checks={"database": error.message}, notes=[])
    if not health.is_ready:
        response.status_code = 503
    return Ready(status="ok" if health.is_ready else "unavailable", checks=health.checks, notes=list(health.notes))
