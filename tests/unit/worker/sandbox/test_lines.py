"""Lines of a child that may be broken or hostile."""

from hypothesis import given
from hypothesis import strategies as st

from morag.worker.sandbox.process import MAX_LINE_BYTES, Lines


def fed(*chunks: bytes) -> list[bytes]:
    lines = Lines()
    return [line for chunk in chunks for line in lines.feed(chunk)]


@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line)), st.integers(min_value=1, max_value=7))
def test_lines_are_the_same_however_they_arrive(lines: list[bytes], size: int) -> None:
    raw = b"".join(line + b"\n" for line in lines)
    assert fed(*(raw[at : at + size] for at in range(0, len(raw), size))) == lines


def test_unfinished_line_waits() -> None:
    assert fed(b"one\ntw") == [b"one"]


def test_line_too_long_is_left_out_whole() -> None:
    half = b"x" * (MAX_LINE_BYTES // 2 + 1)
    assert fed(half, half, half, b"end\nnext\n") == [b"next"]


def test_line_too_long_in_one_piece_is_left_out() -> None:
    assert fed(b"x" * (MAX_LINE_BYTES + 1) + b"\nnext\n") == [b"next"]


def test_endless_line_is_not_kept_in_memory() -> None:
    lines = Lines()
    for _ in range(100):
        lines.feed(b"x" * MAX_LINE_BYTES)
    assert lines.held_bytes <= MAX_LINE_BYTES
