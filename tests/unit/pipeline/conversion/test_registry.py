import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from morag.domain.content import ContentType
from morag.domain.errors import ConversionError
from morag.pipeline.conversion.formats import BY_EXTENSION, BY_MEDIA_TYPE, FORMATS
from morag.pipeline.conversion.registry import (
    available,
    convert,
    format_of,
    install_command,
    missing,
    validate_options,
)
from morag.pipeline.ports import ConversionInput, Detected


def test_each_media_type_and_extension_belongs_to_one_format() -> None:
    assert len(BY_MEDIA_TYPE) == sum(len(entry.media_types) for entry in FORMATS)
    assert len(BY_EXTENSION) == sum(len(entry.extensions) for entry in FORMATS)


def test_each_content_type_has_a_format() -> None:
    assert {entry.content_type for entry in FORMATS} == set(ContentType)


def test_format_without_its_libraries_names_the_command_that_brings_them() -> None:
    entry = replace(BY_EXTENSION["mp3"], needs=("no_such_module_here",))
    assert not available(entry)
    assert missing(entry) == ("no_such_module_here",)
    assert install_command(entry) == 'pip install "morag[audio]"'


def test_missing_library_is_a_clear_refusal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    entry = replace(BY_EXTENSION["png"], needs=("no_such_module_here",))
    monkeypatch.setitem(BY_MEDIA_TYPE, "image/png", entry)
    given = ConversionInput(
        path=tmp_path / "a.png",
        filename="a.png",
        detected=Detected(content_type=ContentType.IMAGE, media_type="image/png"),
        url=None,
        options={},
        work_dir=tmp_path,
    )
    with pytest.raises(ConversionError) as refused:
        convert(given, lambda _fraction, _stage, _message: None)
    assert refused.value.code == "missing_dependency"
    assert refused.value.hint == 'Run: pip install "morag[ocr]"'


def test_sound_of_a_film_is_the_audio_converters_work() -> None:
    chosen = format_of(Detected(content_type=ContentType.AUDIO, media_type="video/mp4"))
    assert chosen.converter.endswith("AudioConverter")


def test_youtube_needs_no_media_type() -> None:
    assert format_of(Detected(content_type=ContentType.YOUTUBE, media_type="text/html")).extra == "youtube"


@pytest.mark.parametrize(
    ("options", "code"),
    [({"colour": "red"}, "unknown_option"), ({"password": 3}, "bad_option"), ({"ocr": "perhaps"}, "bad_option")],
)
def test_unknown_and_ill_typed_options_are_refused(options: dict[str, str | int], code: str) -> None:
    with pytest.raises(ConversionError) as refused:
        validate_options(ContentType.DOCUMENT, {**options})
    assert refused.value.code == code
    assert "password" in (refused.value.hint or "")


def test_known_options_pass() -> None:
    validate_options(ContentType.DOCUMENT, {"password": "x", "ocr": "never"})
    validate_options(ContentType.WEB, {"whole_page": True})


def test_registry_and_detection_load_nothing_heavy() -> None:
    program = (
        "import sys; import morag.pipeline.conversion.registry, morag.pipeline.conversion.detect\n"
        "heavy = {'lxml', 'numpy', 'kreuzberg', 'pypdfium2', 'pdfplumber', 'openpyxl', 'trafilatura', 'onnxruntime'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"
