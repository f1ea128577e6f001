"""API keys: made, listed, replaced and revoked by an admin; and whom the server takes you for."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from morag.api import keyring
from morag.api.access import Administrator, AnyCaller
from morag.api.dependencies import CurrentSystem
from morag.api.schemas.keys import KeyIssued, KeyList, KeyRequest, Me

router = APIRouter(prefix="/api/v1/auth", tags=["keys"])


@router.post("/keys", status_code=201)
async def create_key(body: KeyRequest, _admin: Administrator, system: CurrentSystem, response: Response) -> KeyIssued:
    """Make a key; the answer is the only place that ever tells it. Needs `admin`."""
    made = await system.keys.issue(
        body.user_id, body.description, scopes=frozenset(body.scopes), expires_days=body.expires_days
    )
    return keyring.issued(made, response)


@router.get("/keys")
async def list_keys(
    _admin: Administrator,
    system: CurrentSystem,
    user_id: Annotated[str | None, Query(max_length=64, description="Only this user's.")] = None,
) -> KeyList:
    """All keys without their text, newest first; those that have ended too. Needs `admin`."""
    return KeyList(keys=[keyring.shown(key) for key in await system.keys.list_api_keys(user_id)])


@router.delete("/keys/{key_id}", status_code=204)
async def revoke_key(key_id: str, _admin: Administrator, system: CurrentSystem) -> None:
    """End a key: within a second it is refused everywhere. Needs `admin`."""
    await system.keys.revoke_api_key(key_id)


@router.post("/keys/{key_id}/rotate", status_code=201)
async def rotate_key(key_id: str, _admin: Administrator, system: CurrentSystem, response: Response) -> KeyIssued:
    """Make the key that replaces another; that one lives on for 24 hours, unless it is revoked. Needs `admin`."""
    return keyring.issued(await system.keys.rotate_api_key(key_id), response)


@router.get("/me")
async def who_am_i(caller: AnyCaller) -> Me:
    """Your user id and what you may do."""
    return Me(user_id=caller.user_id, scopes=sorted(caller.scopes), key_id=caller.key_id)
