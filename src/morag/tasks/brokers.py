"""Celery, where a broker is set: loaded then, and only then."""

import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from types import ModuleType
from typing import Any

from morag.domain.errors import StartupError
from morag.worker.functions.loading import is_child


def broker_at(url: str, namespace: str) -> Any:
    """The queue of doorbells for an application's workers (`tasks.celery.CeleryBroker`). Raises StartupError."""
    return _celery().CeleryBroker(url, namespace)


def celery_app(
    url: Callable[[], str | None],
    namespace: str,
    attend: Callable[[str, str, str], Awaitable[None]],
    close: Callable[[], Awaitable[None]],
) -> Any:
    """What `celery -A` serves; None where `url` gives no broker, and in children. Raises StartupError."""
    if is_child():  # it would load Celery at every start of one, for nothing
        return None
    broker_url = url()
    if broker_url is not None:
        celery = _celery()
        return celery.worker_app(broker_url, namespace, celery.Attendant(attend, close))
    if "celery.bin.celery" in sys.modules:  # its command would go on with a broker and an application of its own
        raise StartupError(
            "This Celery worker has no broker.",
            code="bad_setting",
            hint="Set CELERY_BROKER_URL as for the application.",
        )
    return None


def _celery() -> ModuleType:
    try:
        return import_module("morag.tasks.celery")
    except ModuleNotFoundError as error:
        raise StartupError(
            "CELERY_BROKER_URL is set, but Celery is not installed.",
            code="not_installed",
            hint='pip install "morag[celery]", or leave the variable out.',
        ) from error
