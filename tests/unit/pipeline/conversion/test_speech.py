"""What is made of the words a model hears; the model itself runs in tests/integration."""

import hashlib
import sys
from pathlib import Path

import pytest

from morag.domain.errors import ConversionError
from morag.pipeline.conversion import speech_models
from morag.pipeline.conversion.speech import PARAGRAPH_LENGTH, Utterance, paragraphs, timestamp
from morag.pipeline.conversion.speech_models import PackagedModel


def said(start: float, end: float, text: str) -> Utterance:
    return Utterance(start_s=start, end_s=end, text=text)


def test_utterances_close_together_are_one_paragraph() -> None:
    assert list(paragraphs([said(0, 2, "One."), said(2.5, 4, "Two.")])) == [said(0, 4, "One. Two.")]


def test_a_pause_begins_a_paragraph() -> None:
    assert [p.start_s for p in paragraphs([said(0, 2, "One."), said(4, 5, "Two.")])] == [0, 4]


def test_a_long_paragraph_ends_with_its_sentence() -> None:
    long = "word " * (PARAGRAPH_LENGTH // 5)
    found = list(paragraphs([said(0, 9, f"{long}and"), said(9, 10, "on."), said(10, 11, "Next.")]))
    assert [p.text[-5:] for p in found] == ["d on.", "Next."]


def test_speech_without_full_stops_is_cut_all_the_same() -> None:
    assert len(list(paragraphs([said(n, n + 1, "twenty letters of it") for n in range(100)]))) > 2


def test_nothing_said_is_no_paragraph() -> None:
    assert list(paragraphs([])) == []


@pytest.mark.parametrize(("seconds", "shown"), [(0, "[00:00:00]"), (65.9, "[00:01:05]"), (36_061, "[10:01:01]")])
def test_times_are_shown_as_hours_minutes_seconds(seconds: float, shown: str) -> None:
    assert timestamp(seconds) == shown


@pytest.fixture
def two_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedModel:
    """A model whose weights come in two packages."""
    for package, files in {
        "part_one": {"model.bin.1": b"abc", "config.json": b"{}"},
        "part_two": {"model.bin.2": b"def"},
    }.items():
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('weights are data, not code')")
        for name, content in files.items():
            (tmp_path / package / name).write_bytes(content)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    model = PackagedModel(
        name="base",
        files={"config.json": ("part_one/config.json",), "model.bin": ("part_one/model.bin.1", "part_two/model.bin.2")},
        sha256=hashlib.sha256(b"abcdef").hexdigest(),
        package_names="part-one part-two",
    )
    monkeypatch.setattr(speech_models, "PACKAGED", (model,))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "no-cache"))
    return model


def test_weights_in_parts_are_put_together_without_running_their_packages(two_parts: PackagedModel) -> None:
    assert speech_models.contents(two_parts) == {"config.json": b"{}", "model.bin": b"abcdef"}


def test_weights_that_are_not_the_known_ones_are_refused(two_parts: PackagedModel, tmp_path: Path) -> None:
    (tmp_path / "part_two" / "model.bin.2").write_bytes(b"xyz")
    with pytest.raises(ConversionError, match="not the known ones") as caught:
        speech_models.contents(two_parts)
    assert caught.value.code == "bad_model"


def test_auto_takes_installed_weights_and_says_where_they_are_read(two_parts: PackagedModel, tmp_path: Path) -> None:
    chosen = speech_models.choose()
    assert (chosen.name, set(chosen.reads())) == (two_parts.name, {tmp_path / "part_one", tmp_path / "part_two"})


@pytest.mark.usefixtures("two_parts")
def test_auto_does_not_take_half_a_model(tmp_path: Path) -> None:
    (tmp_path / "part_two" / "model.bin.2").unlink()
    with pytest.raises(ConversionError) as caught:
        speech_models.choose()
    assert caught.value.code == "model_missing"


@pytest.mark.usefixtures("two_parts")
def test_auto_prefers_what_the_hub_has_brought(tmp_path: Path) -> None:
    snapshot = tmp_path / "no-cache" / "models--Systran--faster-whisper-small" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for name in ("model.bin", "config.json"):
        (snapshot / name).touch()
    assert speech_models.choose().folder == snapshot


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert speech_models.choose(str(tmp_path)).folder == tmp_path


@pytest.mark.usefixtures("two_parts")
def test_a_name_that_is_not_here_says_what_to_install() -> None:
    with pytest.raises(ConversionError) as caught:
        speech_models.choose("large-v3")
    assert caught.value.code == "model_missing"
    assert "pip install" in (caught.value.hint or "")
