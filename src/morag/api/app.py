"""The HTTP API, put together: door, routers, errors, and the system they work on for as long as the server runs."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib.metadata import version

from fastapi import FastAPI

from morag.api import description, errors
from morag.api.door import Door, Trace
from morag.api.metrics import Measures
from morag.api.rates import Rates
from morag.api.routes import (
    attempts,
    documents,
    health,
    ingest,
    keys,
    manual,
    metrics,
    process,
    remote_jobs,
    search,
    status,
    tasks,
    uploads,
    webhooks,
    workers,
)
from morag.bootstrap.system import System
from morag.settings import Settings
from morag.worker.host import open_system

Opener = Callable[[Settings], AbstractAsyncContextManager[System]]


def create_app(settings: Settings, *, opener: Opener = open_system) -> FastAPI:
    """The application. Its system is opened when it starts and closed, with running work given back, when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with opener(settings) as system:
            app.state.system = system
            yield

    app = FastAPI(
        title="MoRAG",
        version=version("morag"),
        description=description.TEXT,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.settings = settings
    app.state.measures = Measures()
    app.state.rates = Rates()
    app.add_middleware(
        Door,
        bound_to=settings.host,
        allowed_hosts=settings.allowed_hosts,
        trusted_proxies=settings.trusted_proxies,
    )
    app.add_middleware(Trace, measures=app.state.measures)
    errors.install(app)
    for resource in (
        workers,  # asked far more often than any other: routes are tried in order
        attempts,
        process,
        ingest,
        status,
        documents,
        search,
        tasks,
        keys,
        webhooks,
        uploads,
        remote_jobs,
        health,
        metrics,
        manual,
    ):
        app.include_router(resource.router)
    app.openapi = partial(description.describe, app)
    return app
