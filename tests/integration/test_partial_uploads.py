"""Uploads in pieces on a real disk: cut, resumed, checked, refused."""

import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from morag.control.ports import Piece
from morag.domain.errors import ChecksumDiffers, Conflict, NotFound, OffsetDiffers, TooLarge
from morag.storage.partial import AT_ONCE, PartialUploads

OWNER = "0199-aa.1"


@pytest.fixture
def uploads(tmp_path: Path) -> PartialUploads:
    return PartialUploads(tmp_path / "partial", max_bytes=100)


async def stream(*chunks: bytes, is_cut: bool = False) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    if is_cut:
        raise ConnectionResetError


async def test_an_upload_grows_piece_by_piece(uploads: PartialUploads) -> None:
    upload_id = await uploads.create(OWNER, 6)
    assert await uploads.append(OWNER, upload_id, Piece(offset=0), stream(b"ab", b"c")) == 3
    assert await uploads.progress(OWNER, upload_id) == (3, 6)
    assert await uploads.append(OWNER, upload_id, Piece(offset=3), stream(b"def")) == 6
    assert (await uploads.finished(OWNER, upload_id)).read_bytes() == b"abcdef"


async def test_what_came_before_a_cut_counts(uploads: PartialUploads) -> None:
    upload_id = await uploads.create(OWNER, 6)
    with pytest.raises(ConnectionResetError):
        await uploads.append(OWNER, upload_id, Piece(offset=0), stream(b"abcd", is_cut=True))
    assert await uploads.progress(OWNER, upload_id) == (4, 6)


async def test_a_piece_with_a_checksum_counts_whole_or_not_at_all(uploads: PartialUploads) -> None:
    upload_id = await uploads.create(OWNER, 6)
    right = ("sha256", hashlib.sha256(b"abc").digest())
    with pytest.raises(ConnectionResetError):
        await uploads.append(OWNER, upload_id, Piece(offset=0, checksum=right), stream(b"ab", is_cut=True))
    with pytest.raises(ChecksumDiffers):
        await uploads.append(OWNER, upload_id, Piece(offset=0, checksum=right), stream(b"abd"))
    assert await uploads.progress(OWNER, upload_id) == (0, 6)
    assert await uploads.append(OWNER, upload_id, Piece(offset=0, checksum=right), stream(b"abc")) == 3


async def test_a_piece_that_begins_elsewhere_is_told_where_to(uploads: PartialUploads) -> None:
    upload_id = await uploads.create(OWNER, 6)
    await uploads.append(OWNER, upload_id, Piece(offset=0), stream(b"abc"))
    with pytest.raises(OffsetDiffers) as caught:
        await uploads.append(OWNER, upload_id, Piece(offset=0), stream(b"abc"))
    assert caught.value.offset == 3
    with pytest.raises(OffsetDiffers):
        await uploads.finished(OWNER, upload_id)


async def test_more_than_announced_or_allowed_is_refused(uploads: PartialUploads) -> None:
    with pytest.raises(TooLarge):
        await uploads.create(OWNER, 101)
    upload_id = await uploads.create(OWNER, 2)
    with pytest.raises(TooLarge):
        await uploads.append(OWNER, upload_id, Piece(offset=0), stream(b"abc"))
    assert await uploads.progress(OWNER, upload_id) == (0, 2)


async def test_another_owners_upload_is_not_there(uploads: PartialUploads) -> None:
    upload_id = await uploads.create(OWNER, 2)
    for owner, name in (("other", upload_id), (OWNER, "0" * 32), (OWNER, "../x"), ("../" + OWNER, upload_id)):
        with pytest.raises(NotFound):
            await uploads.progress(owner, name)


async def test_an_owner_has_a_few_at_once_and_they_go_together(uploads: PartialUploads) -> None:
    for _ in range(AT_ONCE):
        await uploads.create(OWNER, 2)
    with pytest.raises(Conflict):
        await uploads.create(OWNER, 2)
    await uploads.drop(OWNER)
    await uploads.create(OWNER, 2)


async def test_one_that_nobody_goes_on_with_is_swept(uploads: PartialUploads, tmp_path: Path) -> None:
    old, new = await uploads.create(OWNER, 2), await uploads.create(OWNER, 2)
    past = time.time() - 1_000
    os.utime(tmp_path / "partial" / f"{OWNER}~{old}", (past, past))
    assert await uploads.sweep(older_than_s=500.0) == 1
    with pytest.raises(NotFound):
        await uploads.progress(OWNER, old)
    assert await uploads.progress(OWNER, new) == (0, 2)
