"""The folders conversions work in, on a real disk."""

import os
from pathlib import Path

import pytest

from morag.worker.sandbox.folders import ChildFolder, WorkRoot


@pytest.fixture
def folder(tmp_path: Path) -> ChildFolder:
    (tmp_path / "child").mkdir()
    return ChildFolder(tmp_path / "child")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"content")
    return path


def test_input_is_a_second_name_of_the_file_or_a_copy(folder: ChildFolder, source: Path) -> None:
    linked = folder.place(source, "a.pdf", link=True)
    assert linked.samefile(source)
    copied = folder.place(source, "b.docx", link=False)
    assert not copied.samefile(source)
    assert copied.read_bytes() == b"content"


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("a.PDF", "input.PDF"),
        ("archive.tar.gz", "input.gz"),
        ("none", "input"),
        ("../../etc/passwd", "input"),
        ("x./../y", "input"),
        ("a.p\x00f", "input"),
        ("a." + "x" * 300, "input"),
    ],
)
def test_input_is_never_named_by_its_sender(folder: ChildFolder, source: Path, filename: str, name: str) -> None:
    assert folder.place(source, filename, link=False) == folder.inbox / name


def test_emptied_folder_holds_nothing_of_the_last_job(folder: ChildFolder, source: Path, tmp_path: Path) -> None:
    folder.place(source, "a.pdf", link=True)
    (folder.job / "inner").mkdir()
    (folder.job / "inner" / "file").write_text("x")
    (folder.temporary / "file").write_text("x")
    (folder.work / "link").symlink_to(tmp_path)
    folder.empty()
    left = {path.relative_to(tmp_path / "child").as_posix() for path in (tmp_path / "child").rglob("*")}
    assert left == {"in", "work", "work/job", "work/tmp"}
    assert source.read_bytes() == b"content"


def test_sparse_file_takes_no_disk_and_a_written_one_does(folder: ChildFolder) -> None:
    with (folder.job / "sparse").open("wb") as file:
        file.truncate(2**30)
    assert not folder.uses_more_than(2**20)
    (folder.job / "written").write_bytes(os.urandom(2**21))
    assert folder.uses_more_than(2**20)


def test_closing_one_server_leaves_the_folders_of_another(tmp_path: Path) -> None:
    one, other = WorkRoot(tmp_path / "root"), WorkRoot(tmp_path / "root")
    folder = other.folder()
    one.close()
    WorkRoot(tmp_path / "root").close()
    assert folder.job.is_dir()
    other.close()
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["lock"]
