"""P7: chunks per second of an ingest (cut, embed, store durably) ÷ those of the bare embedder on the same passages.

python bench/ingest.py [--kib 200]
"""

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from parts.corpus import DIMENSIONS
from parts.timing import rss_mib, table

from morag.domain.content import ContentType, Document, Generation
from morag.pipeline.ingestion.chunk import ChunkOptions
from morag.pipeline.ingestion.embedders.local import LocalEmbedder
from morag.pipeline.ingestion.ingestor import Ingestor
from morag.storage.vectors.embedded import EmbeddedIndex

TARGET = 0.9
TURNS = 3


class NotingEmbedder(LocalEmbedder):
    """Keeps the passages it is given, for the bare run."""

    def __init__(self) -> None:
        super().__init__(threads=2)
        self.passages: list[str] = []

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """As the embedder does."""
        self.passages.extend(texts)
        return super().embed(texts)


def main() -> None:
    """Alternate ingests and bare runs, so that a busy machine is busy for both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kib", type=int, default=100)
    given = parser.parse_args()
    document, embedder = _document(given.kib * 1024), NotingEmbedder()
    embedder.embed(["loads the model"])
    ratios: list[float] = []
    rows: list[list[str]] = []
    for turn in range(TURNS):
        embedder.passages.clear()
        with tempfile.TemporaryDirectory(prefix="bench-ingest-") as folder:
            took, count = _ingest(embedder, document, Path(folder))
        passages = list(embedder.passages)
        start = perf_counter()
        embedder.embed(passages)
        bare = perf_counter() - start
        ratios.append(bare / took)
        rows.append([str(turn + 1), f"{count / took:.1f}", f"{count / bare:.1f}", f"{ratios[-1]:.2f}"])
    table(["turn", "ingest chunks/s", "bare embedder chunks/s", "ratio"], rows)
    print(f"median ratio {sorted(ratios)[TURNS // 2]:.2f}, target ≥ {TARGET}; RSS {rss_mib():.0f} MiB")


def _ingest(embedder: LocalEmbedder, document: Document, folder: Path) -> tuple[float, int]:
    index = EmbeddedIndex(folder / "index", dimensions=DIMENSIONS)
    index.count("opens it")
    generation = Generation(document_id="doc", task_id="task", fence=1)
    ingestor = Ingestor(embedder, index)
    start = perf_counter()
    count = asyncio.run(ingestor.index_document("ann", generation, document, ChunkOptions(), {}, _unheard))
    took = perf_counter() - start
    index.close()
    return took, count


def _unheard(fraction: float, stage: str, message: str) -> None:
    """Progress that nobody follows."""


def _document(size: int) -> Document:
    """This repository's own pages and code, as one document."""
    root = Path(__file__).parent.parent
    files = sorted([*root.glob("docs/**/*.md"), *root.glob("src/**/*.py")])
    text = "\n\n".join(file.read_text() for file in files)[:size]
    return Document(
        markdown=text,
        content_type=ContentType.DOCUMENT,
        media_type="text/markdown",
        title="MoRAG",
        metadata={},
        segments=(),
    )


if __name__ == "__main__":
    main()
