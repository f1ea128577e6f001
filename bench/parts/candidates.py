"""The candidates of index_choice.py, each with what it would take to be the index: users apart, words, durable adds."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from parts.corpus import DIMENSIONS, Row

from morag.domain.content import Chunk, ContentType, Generation, Place
from morag.pipeline.ports import Filters, Point
from morag.storage.vectors.embedded import EmbeddedIndex

BATCH = 32
LIMIT = 50


class Candidate(Protocol):
    """What is measured."""

    def add(self, rows: Sequence[Row], *, generation: str) -> None:
        """Durable when it returns."""
        ...

    def finish(self) -> None:
        """What is left to do after many adds."""
        ...

    def dense(self, user_id: str, vector: list[float], language: str | None) -> int:
        """How many of the nearest were found, with their texts."""
        ...

    def keyword(self, user_id: str, text: str, language: str | None) -> int:
        """As above, by BM25."""
        ...

    def count(self, user_id: str) -> int:
        """A user's points."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class QdrantEdge:
    """The adapter that MoRAG ships."""

    def __init__(self, folder: Path) -> None:
        self._index = EmbeddedIndex(folder / "index", dimensions=DIMENSIONS)

    def add(self, rows: Sequence[Row], *, generation: str) -> None:
        """Upsert and flush."""
        self._index.add([_point(row, generation) for row in rows])

    def finish(self) -> None:
        """Nothing: vectors stay plain."""

    def dense(self, user_id: str, vector: list[float], language: str | None) -> int:
        """Exact."""
        return len(self._index.dense(user_id, vector, limit=LIMIT, filters=_filters(language)))

    def keyword(self, user_id: str, text: str, language: str | None) -> int:
        """Sparse vectors with the user's own document frequencies."""
        return len(self._index.keyword(user_id, text, limit=LIMIT, filters=_filters(language)))

    def count(self, user_id: str) -> int:
        """By filter."""
        return self._index.count(user_id)

    def close(self) -> None:
        """Flush."""
        self._index.close()


class SqliteVec:
    """One SQLite file: sqlite-vec partitioned by user, FTS5 for the words."""

    def __init__(self, folder: Path) -> None:
        import apsw  # noqa: PLC0415 - only where this candidate runs
        import sqlite_vec  # noqa: PLC0415 # pyright: ignore[reportMissingTypeStubs] - as above

        folder.mkdir(parents=True, exist_ok=True)
        self._db: Any = cast("Any", apsw.Connection(str(folder / "index.db")))
        self._db.enable_load_extension(enable=True)
        self._db.load_extension(cast("Any", sqlite_vec).loadable_path())
        self._db.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA mmap_size=1073741824")
        self._db.execute(
            f"""CREATE TABLE IF NOT EXISTS chunk(
                id INTEGER PRIMARY KEY, user TEXT, document TEXT, lang TEXT, text TEXT);
            CREATE INDEX IF NOT EXISTS chunk_user ON chunk(user);
            CREATE VIRTUAL TABLE IF NOT EXISTS vec USING vec0(
                id INTEGER PRIMARY KEY, user TEXT PARTITION KEY, lang TEXT,
                v FLOAT[{DIMENSIONS}] distance_metric=cosine);
            CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(
                text, content='chunk', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2')"""
        )

    def add(self, rows: Sequence[Row], *, generation: str) -> None:
        """One transaction."""
        import numpy as np  # noqa: PLC0415 - only where this candidate runs

        with self._db:
            for row in rows:
                self._db.execute(
                    "INSERT INTO chunk(user, document, lang, text) VALUES (?, ?, ?, ?)",
                    (row.user_id, f"{row.document} {generation}", row.language, row.text),
                )
                at = self._db.last_insert_rowid()
                vector = np.array(row.vector, np.float32).tobytes()
                self._db.execute("INSERT INTO vec VALUES (?, ?, ?, ?)", (at, row.user_id, row.language, vector))
                self._db.execute("INSERT INTO words(rowid, text) VALUES (?, ?)", (at, row.text))

    def finish(self) -> None:
        """Merge the word index."""
        self._db.execute("INSERT INTO words(words) VALUES ('optimize')")

    def dense(self, user_id: str, vector: list[float], language: str | None) -> int:
        """Exact, in the user's partition."""
        import numpy as np  # noqa: PLC0415 - only where this candidate runs

        only = "" if language is None else " AND lang = ?"
        values = (np.array(vector, np.float32).tobytes(), LIMIT, user_id, *([language] if language else []))
        found = self._db.execute(f"SELECT id FROM vec WHERE v MATCH ? AND k = ? AND user = ?{only}", values)  # noqa: S608
        return len([self._text(at) for (at,) in found.fetchall()])

    def keyword(self, user_id: str, text: str, language: str | None) -> int:
        """FTS5's bm25 over all users' words, then the user's rows of it."""
        only = "" if language is None else " AND lang = ?"
        found = self._db.execute(
            f"""SELECT chunk.text FROM words JOIN chunk ON chunk.id = words.rowid
            WHERE words MATCH ? AND user = ?{only} ORDER BY bm25(words) LIMIT ?""",  # noqa: S608
            (" OR ".join(text.split()), user_id, *([language] if language else []), LIMIT),
        )
        return len(found.fetchall())

    def count(self, user_id: str) -> int:
        """By index."""
        return int(self._db.execute("SELECT count(*) FROM chunk WHERE user = ?", (user_id,)).get)

    def close(self) -> None:
        """Close."""
        self._db.close()

    def _text(self, at: int) -> str:
        return str(self._db.execute("SELECT text FROM chunk WHERE id = ?", (at,)).get)


class SqliteVecTantivy(SqliteVec):
    """The same, with tantivy for the words: two stores that a crash may leave apart."""

    def __init__(self, folder: Path) -> None:
        import tantivy  # noqa: PLC0415 - only where this candidate runs

        super().__init__(folder)
        self._tantivy = cast("Any", tantivy)
        schema = self._tantivy.SchemaBuilder()
        for name in ("user", "lang"):
            schema.add_text_field(name, stored=False, tokenizer_name="raw")
        schema.add_text_field("text", stored=True, tokenizer_name="en_stem")
        where = folder / "tantivy"
        where.mkdir(exist_ok=True)
        self._words = self._tantivy.Index(schema.build(), path=str(where))
        self._writer: Any = None

    def add(self, rows: Sequence[Row], *, generation: str) -> None:
        """A transaction and a commit."""
        super().add(rows, generation=generation)
        self._writer = self._writer or self._words.writer(64_000_000, 1)
        for row in rows:
            self._writer.add_document(self._tantivy.Document(user=row.user_id, lang=row.language, text=row.text))
        self._writer.commit()

    def finish(self) -> None:
        """Wait for its merges."""
        self._writer.wait_merging_threads()

    def keyword(self, user_id: str, text: str, language: str | None) -> int:
        """BM25 over all users' words, those of the user."""
        only = f" +lang:{language}" if language else ""
        query = self._words.parse_query(f"+user:{user_id}{only} +({text})", ["text"])
        searcher = self._words.searcher()
        return len([searcher.doc(at)["text"][0] for _, at in searcher.search(query, LIMIT).hits])


CANDIDATES: dict[str, Callable[[Path], Candidate]] = {
    "qdrant-edge": QdrantEdge,
    "sqlite-vec + FTS5": SqliteVec,
    "sqlite-vec + tantivy": SqliteVecTantivy,
}

NEEDS = {
    "qdrant-edge": ("qdrant_edge",),
    "sqlite-vec + FTS5": ("sqlite_vec",),
    "sqlite-vec + tantivy": ("sqlite_vec", "tantivy"),
}
"""The modules of each, besides what MoRAG needs."""


def _filters(language: str | None) -> Filters:
    return Filters(metadata={"lang": language} if language else None)


def _point(row: Row, generation: str) -> Point:
    chunk = Chunk(index=row.index, text=row.text, text_start=0, text_end=len(row.text), place=Place(page=1))
    return Point(
        user_id=row.user_id,
        generation=Generation(document_id=f"{row.user_id}-{row.document}", task_id=generation, fence=1),
        chunk=chunk,
        vector=row.vector,
        content_type=ContentType.DOCUMENT,
        metadata={"lang": row.language},
    )
