"""Drops index points that no document shows and no open task may still publish."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable

from morag.domain.content import Generation
from morag.pipeline.ports import DocumentStore, VectorIndex

IsOpen = Callable[[Generation], Awaitable[bool]]
"""Whether the attempt that wrote a generation may still settle."""


class IndexSweep:
    """Runs after something was indexed or replaced; an idle server's index is left alone, unopened."""

    def __init__(self, index: VectorIndex, documents: DocumentStore, is_open: IsOpen) -> None:
        """Compare `index` with the visible `documents`; `is_open` protects what is being written."""
        self._index = index
        self._documents = documents
        self._is_open = is_open
        self._is_due = False

    def mark(self) -> None:
        """Say that there may be something to drop."""
        self._is_due = True

    async def run(self) -> int:
        """Drop stale generations; how many documents were cleaned. What an open task writes waits for the next run."""
        if not self._is_due:
            return 0
        self._is_due = False
        held: defaultdict[tuple[str, str], list[Generation]] = defaultdict(list)
        for generation, user_id in (await asyncio.to_thread(self._index.generations)).items():
            held[user_id, generation.document_id].append(generation)
        return sum([await self._clean(*key, generations) for key, generations in held.items()])

    async def _clean(self, user_id: str, document_id: str, generations: list[Generation]) -> int:
        stored = await self._documents.document(user_id, document_id)
        visible = stored.generation if stored else None
        stale = [generation for generation in generations if generation != visible]
        if not stale:
            return 0
        if any([await self._is_open(generation) for generation in stale]):
            self.mark()
            return 0
        await asyncio.to_thread(self._index.delete, user_id, document_id, keep=visible)
        return 1
