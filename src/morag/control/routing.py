"""UserTaskRouter: which lane a user's conversion stands in, and why in words.

Asked for, enabled, and a capable machine of the user's own there: its lane; else the server's own. Read from the
registry's memory alone: nobody is asked, nothing is waited for.
"""

from typing import Literal

from morag.control.fleet.registry import Registry
from morag.control.ports import TaskStore
from morag.domain.content import ContentType
from morag.domain.identity import ANONYMOUS, LOCAL_LANE, user_lane
from morag.domain.task import Considered, Routing
from morag.domain.worker import RemoteWorker, Wish


class UserTaskRouter:
    """Lanes for users' conversions."""

    def __init__(self, registry: Registry, store: TaskStore, *, is_enabled: bool) -> None:
        """Route by the workers that `registry` knows; never to them unless `is_enabled`."""
        self._registry = registry
        self._store = store
        self._is_enabled = is_enabled

    def route(self, user_id: str, wish: Wish, content_type: ContentType) -> Routing:
        """The lane for a conversion, with what was looked at on the way."""
        lanes = self._wished(user_id, wish)
        if not lanes:
            return Routing(reason=self._why_local(user_id, wish))
        considered: list[Considered] = []
        for lane in lanes:
            capable = self._registry.capable(user_id, lane, content_type)
            if capable:
                names = ", ".join(worker.machine.name for worker in capable)
                return Routing(lane=lane, reason=f"asked for, and {names} takes it", considered=tuple(considered))
            considered.append(Considered(lane=lane, verdict=f"no worker of yours alive that takes {content_type}"))
        if not wish.fallback_to_local:
            # the last one is served by machines with a GPU and without
            return Routing(
                lane=lanes[-1], reason="asked for, and local was ruled out: it waits", considered=tuple(considered)
            )
        return Routing(reason="remote asked for, no worker of yours alive, local", considered=tuple(considered))

    def get_user_workers(self, user_id: str) -> list[RemoteWorker]:
        """The user's registered machines, there or not."""
        return self._registry.of_user(user_id)

    def has_user_workers_available(self, user_id: str, content_type: ContentType) -> bool:
        """Whether a machine of the user's would take such a conversion now."""
        lanes = (user_lane(user_id, "gpu"), user_lane(user_id, "cpu"))
        return any(self._registry.capable(user_id, lane, content_type) for lane in lanes)

    def should_use_remote_worker(self, user_id: str, wish: Wish, content_type: ContentType) -> bool:
        """Whether `route` would send it to a machine of the user's."""
        return self.route(user_id, wish, content_type).lane != LOCAL_LANE

    async def get_queue_length(self, lane: str) -> int:
        """How many tasks wait in a lane."""
        load = (await self._store.lanes()).get(lane)
        return load.length if load else 0

    def get_user_queue_name(self, user_id: str, worker_type: Literal["gpu", "cpu"] = "gpu") -> str:
        """The lane that only the user's own machines serve."""
        return user_lane(user_id, worker_type)

    def _wished(self, user_id: str, wish: Wish) -> list[str]:
        if not self._is_enabled or user_id == ANONYMOUS or not (wish.gpu or wish.remote):
            return []
        gpu = [user_lane(user_id, "gpu")]
        return [*gpu, user_lane(user_id, "cpu")] if wish.remote else gpu

    def _why_local(self, user_id: str, wish: Wish) -> str:
        if not (wish.gpu or wish.remote):
            return "local lane"
        if not self._is_enabled:
            return "remote asked for, but MORAG_REMOTE_CONVERSION_ENABLED is false: local"
        if user_id == ANONYMOUS:
            return "remote asked for, but without a key there are no machines of yours: local"
        return "local lane"
