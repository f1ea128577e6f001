from pathlib import Path

import pytest

from morag.protocol import FailAttempt
from morag.worker.remote.spool import Parcel, Spool


def parcel(attempt_id: str = "t1.1", **more: object) -> Parcel:
    return Parcel.model_validate({"attempt_id": attempt_id, "fence": 1, "name": "a.md", **more})


def test_what_is_kept_is_there_for_the_next_process(tmp_path: Path) -> None:
    kept = parcel(processing_s=1.5)
    Spool(tmp_path).keep(kept, b"{}")
    failure = parcel("t2.1", failure=FailAttempt(fence=1, failure_type="processing_error"))
    Spool(tmp_path).keep(failure)
    again = Spool(tmp_path)
    assert {each.attempt_id: each for each in again.parcels()} == {"t1.1": kept, "t2.1": failure}
    assert again.document("t1.1").read_bytes() == b"{}"


def test_what_is_dropped_is_gone_from_the_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.keep(parcel(), b"{}")
    spool.drop("t1.1")
    spool.drop("t1.1")
    assert list(tmp_path.iterdir()) == []


def test_what_was_half_written_never_counts_and_is_cleared(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.keep(parcel(), b"{}")
    (tmp_path / "torn.json").write_text('{"attempt_id": "t9.')
    (tmp_path / "lonely.document").write_text("{}")
    (tmp_path / "x.json.part").write_text("{}")
    assert [each.attempt_id for each in spool.parcels()] == ["t1.1"]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_name_from_the_server_never_becomes_a_path(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.keep(parcel("../../escape/.1"), b"{}")
    assert {path.parent for path in tmp_path.rglob("*.*")} == {tmp_path / "spool"}


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path)
    spool.keep(parcel(), b"{}")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        spool.keep(parcel(upload_id="u1"))
    monkeypatch.undo()
    assert [each.upload_id for each in spool.parcels()] == [None]
    assert len(list(tmp_path.iterdir())) == 2
