import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morag.domain.errors import FetchFailed
from morag.storage.fetching.decompression import FREE_BYTES, MAX_RATIO, PIECE_BYTES, Inflater


def inflate(body: bytes, *, is_gzip: bool = True, step: int = 1000) -> bytes:
    inflater = Inflater(is_gzip=is_gzip)
    pieces = [piece for i in range(0, len(body), step) for piece in inflater.feed(body[i : i + step])]
    return b"".join([*pieces, inflater.finish()])


def raw_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


@given(st.binary(max_size=5000), st.integers(1, 600))
def test_whatever_was_packed_comes_out_again(content: bytes, step: int) -> None:
    assert inflate(gzip.compress(content), step=step) == content
    assert inflate(zlib.compress(content), is_gzip=False, step=step) == content
    assert inflate(raw_deflate(content), is_gzip=False, step=step) == content


def test_members_are_joined_and_padding_is_ignored() -> None:
    body = gzip.compress(b"one ") + gzip.compress(b"two") + b"\0" * 512
    assert inflate(body) == b"one two"


def test_bomb_ends_early_and_in_small_pieces() -> None:
    bomb = gzip.compress(b"\0" * 300 * 1024**2, compresslevel=1)
    sizes: list[int] = []

    def unpack() -> None:
        inflater = Inflater(is_gzip=True)
        for i in range(0, len(bomb), 65_536):
            sizes.extend(len(piece) for piece in inflater.feed(bomb[i : i + 65_536]))

    with pytest.raises(FetchFailed) as failure:
        unpack()
    assert failure.value.code == "decompression_bomb"
    assert not failure.value.is_temporary
    assert max(sizes) <= PIECE_BYTES
    assert sum(sizes) <= max(FREE_BYTES, MAX_RATIO * 65_536)


@pytest.mark.parametrize("cut", [1, 15, 30])
def test_truncated_body_is_a_temporary_failure(cut: int) -> None:
    with pytest.raises(FetchFailed) as failure:
        inflate(gzip.compress(bytes(range(256)))[:cut])
    assert failure.value.code == "incomplete_body"
    assert failure.value.is_temporary


def test_body_that_is_not_compressed_is_told() -> None:
    with pytest.raises(FetchFailed) as failure:
        inflate(b"<html>plain</html>")
    assert failure.value.code == "bad_encoding"
