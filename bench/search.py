"""P8: a hybrid search over 50,000 chunks of one user beside 20 others, the question embedded; its parts beside it.

    python bench/search.py [--chunks 50000] [--folder DIR]

A folder given is kept and used again.
"""

import argparse
import asyncio
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from pathlib import Path
from time import perf_counter

from parts.candidates import QdrantEdge
from parts.corpus import DIMENSIONS, Corpus
from parts.timing import rss_mib, table

from morag.domain.content import ContentType, Generation, Publication, StoredDocument
from morag.pipeline.ingestion.embedders.local import LocalEmbedder
from morag.pipeline.ports import Filters
from morag.pipeline.search import Mode, Searcher
from morag.storage.vectors.embedded import EmbeddedIndex

QUESTIONS = 300
P50_MS, P99_MS = 15.0, 50.0
BATCH = 500


class AllVisible:
    """A document store in which every document of the corpus is visible."""

    async def document(self, user_id: str, document_id: str) -> StoredDocument | None:
        """That document."""
        return _stored(user_id, document_id)

    async def visible(self, user_id: str, document_ids: Sequence[str]) -> Mapping[str, StoredDocument]:
        """Those documents."""
        return {document_id: _stored(user_id, document_id) for document_id in document_ids}

    async def recognise(self, user_id: str, content_hash: str, options_digest: str) -> str | None:
        """Nothing is."""
        del user_id, content_hash, options_digest

    async def documents(self, user_id: str, *, limit: int, after: str | None = None) -> list[StoredDocument]:
        """None are listed."""
        del user_id, limit, after
        return []

    async def remove(self, user_id: str, document_id: str) -> bool:
        """Nothing is."""
        del user_id, document_id
        return False

    async def every(self) -> AsyncIterator[StoredDocument]:
        """None."""
        for each in list[StoredDocument]():
            yield each


def main() -> None:
    """Fill an index, or take a filled one, and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--chunks", type=int, default=50_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--fill", action="store_true")
    given = parser.parse_args()
    if given.fill:
        _fill(given.folder, given.chunks)
        return
    with _folder(given.folder) as folder:
        if not (folder / "index").exists():  # in a process of its own, whose memory is not measured
            fill = [sys.executable, __file__, "--fill", "--folder", str(folder), "--chunks", str(given.chunks)]
            subprocess.run(fill, check=True)
        asyncio.run(_measure(folder))


async def _measure(folder: Path) -> None:
    idle = rss_mib()
    index, embedder = EmbeddedIndex(folder / "index", dimensions=DIMENSIONS), LocalEmbedder(threads=2)
    searcher = Searcher(embedder, index, AllVisible())
    corpus = Corpus(seed=2)
    first = perf_counter()
    await searcher.search("big", "the first question loads the model and opens the index")
    print(f"first search {perf_counter() - first:.1f} s; RSS {idle:.0f} → {rss_mib():.0f} MiB")
    rows = [["question embedded", *_figures([_embedded(embedder, corpus) for _ in range(QUESTIONS)], [])]]
    baseline: list[float] = []
    modes: tuple[Mode, ...] = ("hybrid", "dense", "keyword")
    for mode in modes:
        took = [await _searched(searcher, corpus, mode, Filters()) for _ in range(QUESTIONS)]
        baseline = baseline or took
        rows.append([mode, *_figures(took, baseline)])
    only = Filters(metadata={"lang": "en"})
    filtered = [await _searched(searcher, corpus, "hybrid", only) for _ in range(QUESTIONS)]
    rows.append(["hybrid, one language", *_figures(filtered, baseline)])
    table(["", "p50 ms", "p99 ms", "÷ hybrid"], rows)
    print(f"target: hybrid p50 ≤ {P50_MS:.0f} ms, p99 ≤ {P99_MS:.0f} ms; RSS {rss_mib():.0f} MiB after all searches")
    index.close()


async def _searched(searcher: Searcher, corpus: Corpus, mode: Mode, filters: Filters) -> float:
    question = f"how is {corpus.text(8)} done"
    start = perf_counter()
    hits = await searcher.search("big", question, mode=mode, filters=filters)
    took = (perf_counter() - start) * 1e3
    assert hits  # noqa: S101 - a search that finds nothing measures nothing
    return took


def _embedded(embedder: LocalEmbedder, corpus: Corpus) -> float:
    question = f"how is {corpus.text(8)} done"
    start = perf_counter()
    embedder.embed_query(question)
    return (perf_counter() - start) * 1e3


def _figures(took: list[float], baseline: list[float]) -> list[str]:
    ordered = sorted(took)
    p50, p99 = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
    ratio = f"{p50 / sorted(baseline)[len(baseline) // 2]:.2f}" if baseline else "-"
    return [f"{p50:.1f}", f"{p99:.1f}", ratio]


def _fill(folder: Path, chunks: int) -> None:
    candidate, corpus = QdrantEdge(folder), Corpus()
    for user_id, count in [*((f"user{n}", 2_500) for n in range(20)), ("big", chunks)]:
        rows = list(corpus.rows(user_id, count))
        for start in range(0, count, BATCH):
            candidate.add(rows[start : start + BATCH], generation="g")
    candidate.close()


@contextlib.contextmanager
def _folder(given: Path | None) -> Generator[Path]:
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="bench-search-") as name:
        yield Path(name)


def _stored(user_id: str, document_id: str) -> StoredDocument:
    publication = Publication(
        document_id=document_id,
        title=document_id,
        source=document_id,
        content_type=ContentType.DOCUMENT,
        media_type="text/plain",
        content_hash="",
        options_digest="",
        metadata={},
        chunks=50,
        size_bytes=1,
        document_blob="",
        original_blob=None,
    )
    generation = Generation(document_id=document_id, task_id="g", fence=1)
    return StoredDocument(user_id=user_id, publication=publication, generation=generation, created_at=0, updated_at=0)


if __name__ == "__main__":
    main()
