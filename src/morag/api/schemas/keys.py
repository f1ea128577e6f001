"""Keys, as they are asked for and shown. The text of a key is in one answer only: that to the request for it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt

from morag.domain.identity import Scope
from morag.domain.keys import KeyStanding


class KeyRequest(BaseModel):
    """Whom a key is for, and what it may do."""

    model_config = ConfigDict(extra="forbid")

    user_id: str = Field(description="Letters, digits, dot, underscore, hyphen; at most 64.", examples=["alice"])
    description: str = Field(default="", description="For people; at most 200 characters.", examples=["laptop"])
    scopes: Annotated[
        list[Scope],
        Field(min_length=1, max_length=10, description="`submit`: use it; `worker`: run own work; `admin`: keep it."),
    ] = [Scope.SUBMIT]
    expires_days: StrictInt | StrictFloat | None = Field(
        default=None, description="Left out, the key does not expire.", examples=[90]
    )


class KeyShown(BaseModel):
    """A key without its text."""

    key_id: str
    user_id: str
    description: str
    scopes: list[Scope]
    status: KeyStanding
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None = Field(description="To the minute.")


class KeyIssued(KeyShown):
    """A new key."""

    key: str = Field(repr=False, description="The key itself. It is shown this once and can never be shown again.")


class KeyList(BaseModel):
    """Keys, newest first."""

    keys: list[KeyShown]


class Me(BaseModel):
    """Whom the server takes you for."""

    user_id: str
    scopes: list[Scope]
    key_id: str | None = Field(description="Null without a key.")
