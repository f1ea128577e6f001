"""What errors look like (RFC 9457), for the description of the API."""

from pydantic import BaseModel


class FieldError(BaseModel):
    """A field at fault."""

    field: str
    message: str


class Problem(BaseModel):
    """Why a request was not done, and what to do."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None
    hint: str | None = None
    errors: list[FieldError] | None = None
    task_id: str | None = None
