"""What is typed after `morag worker`, and the unit that runs it."""

import shlex
from pathlib import Path

import pytest
import typer

from morag.cli.main import main
from morag.cli.worker_command import seconds
from morag.cli.worker_service import unit


@pytest.mark.parametrize(("word", "told"), [("90", 90.0), ("90s", 90.0), ("10m", 600.0), ("1.5H", 5400.0)])
def test_times_are_read(word: str, told: float) -> None:
    assert seconds(word) == told


@pytest.mark.parametrize("word", ["", "soon", "-1s", "10 minutes", "1e9", "10d"])
def test_what_is_no_time_is_told(word: str) -> None:
    with pytest.raises(typer.BadParameter, match="90s, 10m or 2h"):
        seconds(word)


def test_the_unit_runs_these_words_whatever_they_hold() -> None:
    text = unit(["/opt/my python/bin/python", "--name", "50% $HOME", "--data-dir", '/a"b'])
    (line,) = [each for each in text.splitlines() if each.startswith("ExecStart=")]
    words = shlex.split(line.removeprefix("ExecStart="))
    assert [word.replace("%%", "%").replace("$$", "$") for word in words] == [
        "/opt/my python/bin/python",
        "--name",
        "50% $HOME",
        "--data-dir",
        '/a"b',
    ]


def ended(*words: str) -> int | str | None:
    with pytest.raises(SystemExit) as raised:
        main(["worker", *words])
    return raised.value.code


def test_the_service_is_written_where_systemd_looks_and_holds_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("MORAG_API_KEY", "mrg_secret")
    status = ended("install-service", "--server", "https://far.example", "--key-file", "/keys/mine", "--cpu")
    text = (tmp_path / "systemd" / "user" / "morag-worker.service").read_text()
    assert status == 0
    assert "worker --server https://far.example --cpu --key-file /keys/mine" in text
    assert "mrg_secret" not in text
    assert "systemctl --user enable --now" in capsys.readouterr().err


def test_the_service_can_be_looked_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert ended("install-service", "--server", "https://far.example", "--key-file", "k", "--print") == 0
    assert f"--key-file {Path.cwd() / 'k'}" in capsys.readouterr().out
    assert not any(tmp_path.iterdir())


def test_a_key_from_standard_input_is_no_key_for_a_service(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("install-service", "--server", "https://far.example", "--key-file", "-") == 1
    assert "from a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [(("--content-types", "dreams"), "dreams"), (("--idle-exit", "soon"), "soon"), (("--slots", "0"), "slots")],
)
def test_words_that_cannot_be_are_told(words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(*words) == 2
    assert told in capsys.readouterr().err
