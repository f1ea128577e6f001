from pathlib import Path

import psutil
import pytest

from morag.domain.content import ContentType
from morag.domain.errors import MoragError, StartupError
from morag.worker.remote.folder import WorkerFolder
from morag.worker.remote.offer import find_out, usual_slots


async def test_what_passed_is_offered_and_what_did_not_is_told() -> None:
    offer = await find_out(
        {ContentType.DOCUMENT, ContentType.AUDIO}, is_strict=False, whisper_model="a-model-nobody-has"
    )
    assert offer.content_types == (ContentType.DOCUMENT,)
    assert "a-model-nobody-has" in offer.lacking[ContentType.AUDIO]
    assert offer.capabilities()["speech_model"] is None
    formats = offer.capabilities()["formats"]
    assert isinstance(formats, list)
    assert "PDF" in formats
    assert "MP3" not in formats


@pytest.mark.parametrize("wanted", [{ContentType.AUDIO}, {ContentType.DOCUMENT, ContentType.AUDIO}])
async def test_what_was_asked_for_by_name_and_cannot_be_had_is_an_error(wanted: set[ContentType]) -> None:
    with pytest.raises(MoragError, match=r"audio: .*a-model-nobody-has"):
        await find_out(wanted, is_strict=True, whisper_model="a-model-nobody-has")


def test_slots_never_ask_for_more_memory_than_there_is() -> None:
    assert usual_slots(10**18) == 1
    assert 1 <= usual_slots(1) <= (psutil.cpu_count() or 1)


def test_a_machine_keeps_its_id(tmp_path: Path) -> None:
    first = WorkerFolder(tmp_path / "w").instance_id()
    assert WorkerFolder(tmp_path / "w").instance_id() == first
    assert WorkerFolder(tmp_path / "v").instance_id() != first


def test_an_id_that_is_none_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "instance_id").write_bytes(b"\xff\x00")
    assert WorkerFolder(tmp_path).instance_id().isalnum()


def test_a_folder_serves_one_worker_at_a_time(tmp_path: Path) -> None:
    folder = WorkerFolder(tmp_path)
    with folder.locked(), pytest.raises(StartupError, match="Another worker"), WorkerFolder(tmp_path).locked():
        raise AssertionError("let in")
    with WorkerFolder(tmp_path).locked():
        assert (tmp_path / "lock").exists()


def test_a_folder_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="cannot be used"):
        WorkerFolder(tmp_path / "file" / "w")
