"""`/metrics`, for the operator's Prometheus: from this machine, or with an admin's key."""

from importlib.metadata import version

from fastapi import APIRouter, Request, Response

from morag.api.access import OPERATOR
from morag.api.dependencies import CurrentSystem
from morag.api.metrics import CONTENT_TYPE, Reading

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    dependencies=[OPERATOR],
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text."}},
)
async def metrics(request: Request, system: CurrentSystem) -> Response:
    """Tasks, attempts, requests, index and disk in numbers."""
    reading = Reading(
        version=version("morag"),
        lanes=await system.store.lanes(),
        index_points=system.index.points(),
        disk_free_bytes=system.blobs.free_bytes(),
    )
    return Response(request.app.state.measures.text(reading), headers={"Content-Type": CONTENT_TYPE})
