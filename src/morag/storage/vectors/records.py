"""A point as a payload of plain values, and back; under every vector store that keeps payloads.

Keys are short because they are stored with every point:
`u` user, `d` document, `g` owner (user and generation), `c` content type, `m` metadata as exact terms, `p` the chunk.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeAlias, cast
from uuid import UUID, uuid5

from morag.domain.content import Chunk, Generation, Place
from morag.pipeline.ports import Filters, Point

USER, DOCUMENT, OWNER, TYPE, TERMS = "u", "d", "g", "c", "m"
CHUNK = "p"
_NAMESPACE = UUID("6f2d5f0e-58f7-5d8f-9a4e-1f4f0b5e7a11")

Payload: TypeAlias = dict[str, Any]


def point_id(point: Point) -> UUID:
    """The same for the same chunk of the same generation of the same user, so that writing twice is writing once."""
    return uuid5(_NAMESPACE, f"{owner(point.user_id, point.generation)}{point.chunk.index}")


def owner(user_id: str, generation: Generation) -> str:
    """User and generation as one exact term, in JSON: any document id may stand in it."""
    return json.dumps([user_id, generation.document_id, generation.task_id, generation.fence])


def read_owner(term: str) -> tuple[str, Generation]:
    """What `owner` was given."""
    user_id, document_id, task_id, fence = cast("tuple[str, str, str, int]", json.loads(term))
    return user_id, Generation(document_id=document_id, task_id=task_id, fence=fence)


def term(key: str, value: str | float | bool) -> str:  # noqa: FBT001 - metadata are scalars of any kind
    """A metadata entry as one exact term; 1 and 1.0 are equal, 1 and true are not."""
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    return json.dumps([key, number])


def payload(point: Point) -> Payload:
    """All that a hit needs, and what filters name."""
    return {
        USER: point.user_id,
        DOCUMENT: point.generation.document_id,
        OWNER: owner(point.user_id, point.generation),
        TYPE: point.content_type.value,
        TERMS: [term(key, value) for key, value in point.metadata.items() if isinstance(value, str | int | float)],
        CHUNK: _packed(point.chunk),
    }


def exact_terms(user_id: str, filters: Filters) -> list[tuple[str, str]]:
    """What a hit's payload must hold, key by key: the user always first."""
    wanted = [(USER, user_id)]
    if filters.document_id is not None:
        wanted.append((DOCUMENT, filters.document_id))
    if filters.content_type is not None:
        wanted.append((TYPE, filters.content_type.value))
    return wanted + [(TERMS, term(key, value)) for key, value in (filters.metadata or {}).items()]


def read_chunk(found: Mapping[str, Any]) -> Chunk:
    """The chunk of a payload."""
    packed = cast("dict[str, Any]", found[CHUNK])
    place = dict(packed.get("place", {}))
    for name in ("bbox", "heading_path"):
        if name in place:
            place[name] = tuple(place[name])
    return Chunk(
        index=packed["i"], text=packed["t"], text_start=packed["a"], text_end=packed["b"], place=Place(**place)
    )


def _packed(chunk: Chunk) -> Payload:
    place = {name: value for name, value in asdict(chunk.place).items() if value not in (None, ())}
    return {"i": chunk.index, "t": chunk.text, "a": chunk.text_start, "b": chunk.text_end, "place": place}
