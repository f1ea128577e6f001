"""The in-process doors of an application: one for each nature of function, with slots of its own."""

from collections.abc import Callable
from dataclasses import dataclass

from morag.control.tasks.definitions import Nature, Registry
from morag.domain.identity import LOCAL_LANE
from morag.domain.task import Offers


@dataclass(frozen=True, slots=True)
class FunctionDoor:
    """Claims the functions of one nature (`executors.background.AnyDoor`), as many as its slots that are not stuck."""

    nature: Nature
    most: int
    namespace: str
    registry: Registry
    stuck: Callable[[Nature], int]
    left: Callable[[], frozenset[str]]
    """The names that are left to others now."""

    @property
    def lanes(self) -> tuple[str, ...]:
        """The server's own lane."""
        return (LOCAL_LANE,)

    @property
    def offers(self) -> Offers:
        """What is registered by now, and not left to others."""
        return Offers(namespace=self.namespace, names=self.registry.names(self.nature) - self.left())

    @property
    def slots(self) -> int:
        """How many may run at once, less those that do not end."""
        return self.most - self.stuck(self.nature)
