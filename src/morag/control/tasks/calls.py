"""A call as JSON: what submit stores, what a child process is sent, and what comes back.

Nothing is turned into something else on the way: what JSON cannot say is refused with its place, at submit.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from morag.domain.errors import InvalidRequest
from morag.domain.failure import AttemptFailed, Failure, FailureType

MAX_RESULT_BYTES = 256 * 1024**2
"""The largest result kept, as JSON in UTF-8."""
_DEPTH = 100
_LARGE = 10_000
_HINTS = {
    "bytes": "Store the bytes and pass their key, or encode them as base64 text.",
    "datetime": "Pass `.isoformat()`.",
    "date": "Pass `.isoformat()`.",
    "UUID": "Pass `str(...)`.",
    "Path": "Pass `str(...)`.",
    "Decimal": "Pass `str(...)`.",
    "set": "Pass `sorted(...)`.",
}
_encoded = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_SCALARS = (str, bool, int, type(None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Arguments of one call. Tuples arrive as lists."""

    args: list[Any]
    kwargs: dict[str, Any]

    def encode(self) -> bytes:
        """As JSON. Raises InvalidRequest naming the first value that is none."""
        self.check()
        return dump({"args": self.args, "kwargs": self.kwargs})

    def check(self) -> None:
        """Raise InvalidRequest naming the first value that is not JSON."""
        fault = first_fault(self.args, "args") or first_fault(self.kwargs, "kwargs")
        if fault:
            raise InvalidRequest(fault[0], code="not_json", hint=fault[1], field="args")

    @classmethod
    def decode(cls, text: bytes) -> "Call":
        """From `encode`."""
        return cls(**json.loads(text))


def dump(value: Any) -> bytes:
    """Compact JSON in UTF-8. Raises ValueError or TypeError for what is none."""
    return _encoded(value).encode()


def encode_result(value: Any) -> bytes:
    """A function's result as JSON. Raises AttemptFailed, saying which value is none, or that it is too large."""
    fault = first_fault(value, "result")
    if fault:
        raise AttemptFailed(
            Failure(
                type=FailureType.PROCESSING_ERROR,
                code="result_not_json",
                message=f"The task ran, but its result cannot be kept: {fault[0]}",
                hint=fault[1],
                is_final=True,
            )
        )
    text = dump(value)
    if len(text) > MAX_RESULT_BYTES:
        raise AttemptFailed(
            Failure(
                type=FailureType.PROCESSING_ERROR,
                code="result_too_large",
                message=f"The task ran, but its result of {len(text) >> 20} MiB is over {MAX_RESULT_BYTES >> 20} MiB.",
                hint="Store it elsewhere, and return where.",
                is_final=True,
            )
        )
    return text


def is_large(value: Any) -> bool:
    """Whether encoding may take long enough to be felt; a guess from the outermost two levels."""
    if not isinstance(value, str | list | tuple | dict):
        return False
    sized = cast("str | list[Any]", value)
    if isinstance(sized, str) or len(sized) > _LARGE:
        return len(sized) > _LARGE
    inner = cast("dict[str, Any]", value).values() if isinstance(value, dict) else sized
    return any(isinstance(each, str | list | tuple | dict) and len(cast("str", each)) > _LARGE for each in inner)


def first_fault(value: Any, place: str) -> tuple[str, str] | None:
    """(what is wrong, what to do) of the first value JSON cannot say, None if there is none."""
    return next(_faults(value, place, 0), None)


def _faults(value: Any, place: str, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, _SCALARS):
        return
    if depth > _DEPTH:
        yield f"{place[:80]}… is nested too deep, or contains itself.", "Pass flatter data."
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield f"{place} is {value}, which JSON cannot say.", "Pass None, or text."
    elif isinstance(value, list | tuple):
        for i, each in enumerate(cast("list[Any]", value)):
            if not isinstance(each, _SCALARS):
                yield from _faults(each, f"{place}[{i}]", depth + 1)
    elif isinstance(value, dict):
        yield from _faults_of_object(cast("dict[Any, Any]", value), place, depth)
    else:
        kind = type(cast("object", value)).__name__
        yield f"{place} is of type {kind}, which is not JSON.", _HINTS.get(kind, "Pass text, numbers, lists, objects.")


def _faults_of_object(value: dict[Any, Any], place: str, depth: int) -> Iterator[tuple[str, str]]:
    for key, each in value.items():
        if not isinstance(key, str):
            yield f"{place} has the key {key!r}; keys of JSON are text.", "Use text for keys."
        if not isinstance(each, _SCALARS):
            yield from _faults(each, f"{place}.{key}", depth + 1)
