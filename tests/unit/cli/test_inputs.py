from pathlib import Path

import pytest
import typer

from morag.cli.inputs import Input, gathered, metadata_of, named, options_of


def test_a_folder_is_searched_for_what_can_be_converted(tmp_path: Path) -> None:
    for name in ("b.txt", "deep/er/a.md", ".hidden/c.txt", ".d.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("# Words")
    inputs, skipped = gathered([str(tmp_path)])
    assert [given.path for given in inputs] == [tmp_path / "b.txt", tmp_path / "deep" / "er" / "a.md"]
    assert skipped == []


def test_what_cannot_be_converted_is_told_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "program.bin").write_bytes(bytes(range(256)) * 8)
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    inputs, skipped = gathered([str(tmp_path)])
    assert inputs == []
    assert [Path(skip.name).name for skip in skipped] == ["empty.txt", "gone.txt", "program.bin"]
    assert "empty" in skipped[0].reason


def test_a_file_named_by_the_user_is_never_skipped(tmp_path: Path) -> None:
    path = tmp_path / "empty.txt"
    path.touch()
    inputs, skipped = gathered([str(path)])
    assert [given.path for given in inputs] == [path]
    assert skipped == []


def test_what_is_not_there_is_a_usage_error() -> None:
    with pytest.raises(typer.BadParameter, match="no file"):
        gathered(["/nowhere/at/all.pdf"])


def test_process_takes_no_folders(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="folder"):
        named([str(tmp_path)])


@pytest.mark.parametrize(
    ("url", "filename"),
    [
        ("https://example.org/a/report%20one.pdf?x=1", "report one.pdf"),
        ("https://example.org/a/", "a"),
        ("https://example.org", "example.org"),
        ("https://example.org/..%2f..%2fetc", "etc"),
    ],
)
def test_a_url_has_the_name_of_its_last_part(url: str, filename: str) -> None:
    assert Input(name=url, url=url).filename == filename


@pytest.mark.parametrize(
    ("url", "is_youtube"),
    [
        ("https://www.youtube.com/watch?v=x", True),
        ("https://youtu.be/x", True),
        ("https://notyoutube.com/watch", False),
        ("https://youtube.com.example/x", False),
    ],
)
def test_youtube_is_known_by_its_host(url: str, is_youtube: bool) -> None:  # noqa: FBT001 - a case of the table
    assert Input(name=url, url=url).is_youtube is is_youtube


def test_metadata_is_text_unless_it_reads_back_the_same() -> None:
    words = ["a=x=y", "n=12", "f=1.5", "zip=01234", "t=true", "e=", "big=1e9", "inf=inf"]
    assert metadata_of(words) == {
        "a": "x=y",
        "n": 12,
        "f": 1.5,
        "zip": "01234",
        "t": True,
        "e": "",
        "big": "1e9",
        "inf": "inf",
    }


def test_an_option_has_the_type_that_its_converter_takes() -> None:
    assert options_of(["password=1234", "whole_page=true"]) == {"password": "1234", "whole_page": True}


@pytest.mark.parametrize("word", ["novalue", "=x"])
def test_a_pair_without_name_or_sign_is_a_usage_error(word: str) -> None:
    with pytest.raises(typer.BadParameter):
        metadata_of([word])
