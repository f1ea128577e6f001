"""Your webhooks: what signs them, and what became of each."""

from typing import Annotated

from fastapi import APIRouter, Query

from morag.api import answers, cursors
from morag.api.access import Submitter
from morag.api.dependencies import CurrentSystem
from morag.api.schemas.webhooks import DeliveryPage, WebhookSecret

router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"])


@router.get("/secret")
async def get_secret(caller: Submitter, system: CurrentSystem) -> WebhookSecret:
    """The secret that signs your webhooks; made at the first call."""
    return WebhookSecret(secret=await system.webhooks.secret(caller.user_id))


@router.post("/secret/rotate")
@router.post("/rotate", include_in_schema=False)
async def rotate_secret(caller: Submitter, system: CurrentSystem) -> WebhookSecret:
    """A new secret. For a day messages carry signatures by the one before too."""
    return WebhookSecret(secret=await system.webhooks.rotate(caller.user_id))


@router.get("/deliveries")
async def list_deliveries(
    caller: Submitter,
    system: CurrentSystem,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=400)] = None,
) -> DeliveryPage:
    """What was, or is to be, sent for your tasks, newest task first."""
    found = await system.webhooks.deliveries(caller.user_id, limit=limit, before=cursors.decode(cursor))
    more = cursors.encode(found[-1].id) if len(found) == limit else None
    return DeliveryPage(deliveries=[answers.delivery(each) for each in found], next_cursor=more)
