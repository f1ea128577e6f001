"""Limits by themselves: what a task brings, and what is left of an allowance."""

from dataclasses import asdict
from typing import Any

import pytest

from morag.domain.content import Source
from morag.domain.errors import LimitReached
from morag.domain.limits import Allowance, Limits, source_bytes

SOURCE = asdict(Source(sha256="0" * 64, size_bytes=70, filename="a.pdf"))


@pytest.mark.parametrize(
    ("args", "size"),
    [
        ({"source": SOURCE, "url": None}, 70),
        ({"source": None, "url": "https://example.org/"}, 0),
        ({"source": {"size_bytes": "many"}}, 0),
        ({"source": {"size_bytes": -5}}, 0),
        ({"source": "a.pdf"}, None),
        ({"n": 1}, None),
    ],
)
def test_task_brings_the_bytes_of_its_source(args: dict[str, Any], size: int | None) -> None:
    assert source_bytes(args) == size


def test_allowance_is_used_up_task_by_task() -> None:
    allowance = Allowance(limits=Limits(queued=3, stored_bytes=150), queued=1, stored_bytes=0)
    allowance.take({"source": SOURCE})
    with pytest.raises(LimitReached) as caught:
        allowance.take({"source": {"size_bytes": 81}})
    assert caught.value.code == "storage_limit"


def test_without_limits_everything_may_come() -> None:
    allowance = Allowance(limits=Limits(), queued=10**9, stored_bytes=10**15)
    allowance.take({"source": SOURCE})
    assert allowance == Allowance(limits=Limits(), queued=10**9, stored_bytes=10**15)
