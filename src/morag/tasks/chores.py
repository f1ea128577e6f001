"""What is done from time to time for an application's tasks: old ones forgotten, unknown ones told of."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from morag.control.ports import TaskStore
from morag.control.tasks.definitions import Registry
from morag.control.tasks.supervisor import Chore
from morag.domain.identity import LOCAL_LANE
from morag.telemetry import log

CLEAN_S = 600.0
UNKNOWN_S = 30.0
"""How often names are looked for that nobody here knows."""


class SweptBlobs(Protocol):
    """The part of a folder of blobs used here."""

    async def sweep(self, is_referenced: Callable[[Sequence[str]], Awaitable[set[str]]], /) -> int:
        """Delete what is not referenced; how many."""
        ...


Folder = Callable[[], Awaitable[SweptBlobs | None]]
"""The folder of large arguments and results, None while there is none."""


def chores(
    store: TaskStore, folder: Folder, registry: Registry, namespace: str, *, retention_s: float, is_own_folder: bool
) -> list[Chore]:
    """What a supervisor does. `is_own_folder`: each process sweeps its blobs, for others may be on other machines."""
    warned: set[str] = set()

    async def retire() -> int:
        return await store.retire(older_than_s=retention_s)

    async def sweep_blobs() -> int:
        blobs = await folder()
        return await blobs.sweep(store.referenced) if blobs else 0

    async def warn_of_unknown_names() -> int:
        """Say once of each name that its tasks wait for a process that knows it."""
        waiting = await store.ready_names(LOCAL_LANE, namespace)
        known = {definition.name for definition in registry}
        for name in sorted(waiting - known - warned):
            log.warning("unknown_task_waits", task=name, namespace=namespace)
            warned.add(name)
        return 0

    return [
        Chore(name="retire", every_s=CLEAN_S, act=retire),
        Chore(name="sweep_blobs", every_s=CLEAN_S, act=sweep_blobs, is_own=is_own_folder),
        Chore(name="warn_of_unknown_names", every_s=UNKNOWN_S, act=warn_of_unknown_names, is_own=True),
    ]
