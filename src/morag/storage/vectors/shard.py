"""How a qdrant-edge shard is laid out and asked; `embedded.py` keeps one open."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from qdrant_edge import (
    Bm25,
    Bm25Config,
    Distance,
    EdgeConfig,
    EdgeShard,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    FieldCondition,
    Filter,
    KeywordIndexParams,
    MatchValue,
    Memory,
    Modifier,
    StopwordsSet,
    UpdateOperation,
    VectorStorageDatatype,
)

from morag.storage.vectors import records

DENSE, WORDS = "dense", "words"
_MEAN_WORDS = 190.0
"""Words of a chunk of 1,200 characters; BM25 measures the length of a chunk against it."""
_READY = "ready"


def opened(folder: Path, dimensions: int) -> EdgeShard:
    """The shard in `folder`, made anew if it is not there or was not finished."""
    ready = folder / _READY
    if ready.exists():
        return EdgeShard.load(str(folder))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shard = EdgeShard.create(str(folder), _layout(dimensions))
    shard.update(UpdateOperation.create_field_index(records.USER, KeywordIndexParams(is_tenant=True)))
    for key in (records.DOCUMENT, records.OWNER, records.TYPE, records.TERMS):
        shard.update(UpdateOperation.create_field_index(key, KeywordIndexParams()))
    shard.flush()
    ready.touch()
    return shard


def word_weights() -> Bm25:
    """BM25 of words in lower case without accents, English endings cut off; no word is too common to be asked for."""
    return Bm25(Bm25Config(avg_len=_MEAN_WORDS, ascii_folding=True, stopwords=StopwordsSet()))


def matching(terms: Sequence[tuple[str, str]], *, but_not: Sequence[tuple[str, str]] = ()) -> Filter:
    """Points whose payload holds each of `terms` and none of `but_not`."""
    return Filter(must=[_has(*pair) for pair in terms], must_not=[_has(*pair) for pair in but_not])


def _has(key: str, value: str) -> FieldCondition:
    return FieldCondition(key, match=MatchValue(value))


def _layout(dimensions: int) -> EdgeConfig:
    return EdgeConfig(
        # half precision: unit vectors lose nothing that ranks, and half the bytes are compared in 60 % of the time
        vectors={
            DENSE: EdgeVectorParams(
                size=dimensions,
                distance=Distance.Dot,
                memory=Memory.Cold,
                datatype=VectorStorageDatatype.Float16,
            )
        },
        sparse_vectors={WORDS: EdgeSparseVectorParams(modifier=Modifier.Idf)},
    )
