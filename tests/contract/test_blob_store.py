"""What every blob store does; the folder is the one there is."""

import asyncio
import errno
import hashlib
import os
import stat
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from morag.domain.errors import InvalidRequest, NotFound, StorageFull, TooLarge
from morag.storage.blobs import FolderBlobStore
from morag.storage.incoming import disk_full_told

MIB = 1024**2


class Disk:
    """A disk whose free space the test says."""

    def __init__(self) -> None:
        self.free = 100 * MIB

    def __call__(self, _: Path) -> int:
        return self.free


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def store(tmp_path: Path, disk: Disk) -> FolderBlobStore:
    return FolderBlobStore(tmp_path / "blobs", min_free_bytes=50 * MIB, measure_free=disk)


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def nobody_refers(_: Sequence[str]) -> set[str]:
    return set()


def files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "blobs").rglob("*") if path.is_file() and path.name != "moving"]


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


async def test_received_bytes_come_back_under_their_digest(store: FolderBlobStore, tmp_path: Path) -> None:
    chunks = [os.urandom(700_000) for _ in range(5)]
    sha256, size_bytes = await store.receive(stream(*chunks), max_bytes=10 * MIB)
    assert sha256 == hashlib.sha256(b"".join(chunks)).hexdigest()
    assert size_bytes == 3_500_000
    assert await store.get(sha256) == b"".join(chunks)
    path = store.path(sha256)
    assert path == tmp_path / "blobs" / sha256[:2] / sha256[2:]
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert files(tmp_path) == [path]


async def test_put_gives_the_digest_and_is_idempotent(store: FolderBlobStore, tmp_path: Path) -> None:
    assert await store.put(b"x") == await store.put(b"x") == hashlib.sha256(b"x").hexdigest()
    assert len(files(tmp_path)) == 1


async def test_many_at_once_of_the_same_content_leave_one_blob(store: FolderBlobStore, tmp_path: Path) -> None:
    received = await asyncio.gather(*(store.receive(stream(b"a", b"b"), max_bytes=9) for _ in range(8)))
    assert len(set(received)) == 1
    assert len(files(tmp_path)) == 1


async def test_put_file_copies(store: FolderBlobStore, tmp_path: Path) -> None:
    (tmp_path / "result").write_bytes(b"y" * 3 * MIB)
    sha256, size_bytes = await store.put_file(tmp_path / "result")
    (tmp_path / "result").write_bytes(b"changed")
    assert size_bytes == 3 * MIB
    assert await store.get(sha256) == b"y" * 3 * MIB


async def test_put_file_follows_no_link_and_waits_for_no_pipe(store: FolderBlobStore, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "."):
        with pytest.raises(OSError, match=r".+"):
            await store.put_file(tmp_path / name)
    assert files(tmp_path) == []


async def test_too_large_input_leaves_nothing_behind(store: FolderBlobStore, tmp_path: Path) -> None:
    with pytest.raises(TooLarge) as error:
        await store.receive(stream(b"a" * 2 * MIB, b"b"), max_bytes=2 * MIB)
    assert error.value.code == "too_large"
    assert files(tmp_path) == []
    await store.receive(stream(b"a" * 2 * MIB), max_bytes=2 * MIB)


async def test_empty_input_is_refused(store: FolderBlobStore, tmp_path: Path) -> None:
    for chunks in (stream(), stream(b"", b"")):
        with pytest.raises(InvalidRequest) as error:
            await store.receive(chunks, max_bytes=9)
        assert error.value.code == "empty_file"
    assert files(tmp_path) == []


async def test_low_disk_refuses_uploads_but_takes_results(store: FolderBlobStore, disk: Disk, tmp_path: Path) -> None:
    disk.free = 50 * MIB - 1
    with pytest.raises(StorageFull) as error:
        await store.receive(stream(b"a"), max_bytes=9)
    assert error.value.code == "disk_low"
    assert files(tmp_path) == []
    assert await store.get(await store.put(b"result")) == b"result"


async def test_upload_that_would_fill_the_disk_ends(store: FolderBlobStore, disk: Disk, tmp_path: Path) -> None:
    async def filling() -> AsyncIterator[bytes]:
        while disk.free > 0:
            disk.free -= MIB
            yield b"a" * MIB

    with pytest.raises(StorageFull):
        await store.receive(filling(), max_bytes=1000 * MIB)
    assert disk.free >= 49 * MIB
    assert files(tmp_path) == []


def test_full_disk_is_told_as_storage_full() -> None:
    with pytest.raises(StorageFull), disk_full_told():
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), disk_full_told():
        raise PermissionError


async def test_sender_that_breaks_off_leaves_nothing_behind(store: FolderBlobStore, tmp_path: Path) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield b"a" * 2 * MIB
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await store.receive(breaking(), max_bytes=9 * MIB)
    assert files(tmp_path) == []


async def test_cancelled_upload_leaves_nothing_behind(store: FolderBlobStore, tmp_path: Path) -> None:
    started = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"a" * MIB
            started.set()

    upload = asyncio.create_task(store.receive(endless(), max_bytes=10**12))
    await started.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "name", ["", "0" * 63, "0" * 64, "A" * 64, "../" * 21 + "a", "0" * 64 + "\n", "tmp/" + "0" * 60]
)
async def test_what_is_no_digest_of_a_blob_is_not_found(store: FolderBlobStore, name: str) -> None:
    with pytest.raises(NotFound):
        await store.get(name)
    with pytest.raises(NotFound):
        store.path(name)


async def test_sweep_removes_what_is_old_and_unreferenced(store: FolderBlobStore) -> None:
    old, kept, young = [await store.put(content) for content in (b"old", b"kept", b"young")]
    age(store.path(old), 100_000)
    age(store.path(kept), 100_000)
    asked: list[str] = []

    async def refer(blobs: Sequence[str]) -> set[str]:
        asked.extend(blobs)
        return {kept}

    assert await store.sweep(refer) == 1
    assert set(asked) == {old, kept}
    assert await store.get(kept) == b"kept"
    assert await store.get(young) == b"young"
    with pytest.raises(NotFound):
        await store.get(old)


@pytest.mark.parametrize("again", ["put", "receive"])
async def test_content_handed_in_again_is_young_again(store: FolderBlobStore, again: str) -> None:
    sha256 = await store.put(b"same")
    age(store.path(sha256), 100_000)
    if again == "put":
        await store.put(b"same")
    else:
        await store.receive(stream(b"same"), max_bytes=9)
    assert await store.sweep(nobody_refers) == 0


async def test_content_handed_in_while_the_sweep_asks_is_kept(store: FolderBlobStore) -> None:
    sha256 = await store.put(b"same")
    age(store.path(sha256), 100_000)

    async def meanwhile(_: Sequence[str]) -> set[str]:
        await store.put(b"same")
        return set()

    assert await store.sweep(meanwhile) == 0
    assert await store.get(sha256) == b"same"


async def test_sweep_and_uploads_at_once_lose_nothing(store: FolderBlobStore) -> None:
    async def hand_in(n: int) -> None:
        for _ in range(20):
            assert await store.get(await store.put(b"%d" % n)) == b"%d" % n

    async def sweep() -> None:
        for _ in range(3):
            await store.sweep(nobody_refers, older_than_s=60)

    await asyncio.gather(sweep(), *(hand_in(n) for n in range(4)))


async def test_sweep_removes_stale_temporary_files(store: FolderBlobStore, tmp_path: Path) -> None:
    stale, fresh = (tmp_path / "blobs" / "tmp" / name for name in ("stale", "fresh"))
    stale.touch()
    fresh.touch()
    age(stale, 100_000)
    assert await store.sweep(nobody_refers) == 0
    assert files(tmp_path) == [fresh]


async def test_blobs_survive_a_new_store_on_the_same_folder(store: FolderBlobStore, tmp_path: Path) -> None:
    sha256 = await store.put(b"x")
    assert await FolderBlobStore(tmp_path / "blobs", min_free_bytes=0).get(sha256) == b"x"


async def test_free_space_is_that_of_the_disk(tmp_path: Path) -> None:
    assert FolderBlobStore(tmp_path / "blobs", min_free_bytes=0).free_bytes() > 0
