"""How webhooks are shown to who asked for them."""

from pydantic import BaseModel, Field

from morag.domain.webhook import WebhookEvent


class WebhookSecret(BaseModel):
    """What your receivers verify signatures with."""

    secret: str = Field(description="As libraries of Standard Webhooks take it.", examples=["whsec_…"])


class DeliveryShown(BaseModel):
    """One message to one receiver."""

    webhook_id: str = Field(description="The same in every try.")
    task_id: str
    event: WebhookEvent
    url: str
    created_at: str
    tries: int
    last_status: int | None = Field(description="The receiver's latest HTTP status.")
    last_error: str | None
    delivered_at: str | None
    next_try_at: str | None = Field(description="Null once it is delivered or given up.")


class DeliveryPage(BaseModel):
    """Deliveries, newest task first."""

    deliveries: list[DeliveryShown]
    next_cursor: str | None
