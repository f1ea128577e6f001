"""Made-up chunks for the measurements: words with the frequencies of a natural language, vectors in topics.

Real embeddings of 50,000 chunks take half an hour on two cores; how near vectors lie matters to an index, not where.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DIMENSIONS = 384
_WORDS = 60_000
_TOPICS = 200
_WORDS_IN_CHUNK = 180


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One chunk of one user."""

    user_id: str
    document: int
    index: int
    text: str
    vector: list[float]
    language: str


class Corpus:
    """Chunks and questions, the same for the same seed."""

    def __init__(self, seed: int = 1) -> None:
        self._random = np.random.default_rng(seed)
        self._topics = self._random.standard_normal((_TOPICS, DIMENSIONS))
        frequency = 1 / np.arange(1, _WORDS + 1) ** 1.05
        self._up_to: NDArray[np.float64] = np.cumsum(frequency / frequency.sum())

    def rows(self, user_id: str, count: int, *, per_document: int = 50) -> Iterator[Row]:
        """`count` chunks of a user, `per_document` to a document, a third of them in English."""
        for start in range(0, count, 1000):
            vectors = self.vectors(min(1000, count - start))
            for n, vector in enumerate(vectors, start=start):
                yield Row(
                    user_id=user_id,
                    document=n // per_document,
                    index=n,
                    text=self.text(_WORDS_IN_CHUNK),
                    vector=vector,
                    language="de" if n % 3 else "en",
                )

    def vectors(self, count: int) -> list[list[float]]:
        """Unit vectors scattered about their topics."""
        near = self._topics[self._random.integers(0, _TOPICS, count)]
        raw = near + 0.8 * self._random.standard_normal((count, DIMENSIONS))
        return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32).tolist()

    def text(self, words: int) -> str:
        """So many words, common ones often."""
        found = np.searchsorted(self._up_to, self._random.random(words)).clip(max=_WORDS - 1)
        return " ".join(f"w{number:x}" for number in found.tolist())
