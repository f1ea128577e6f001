"""Progress and options of transcripts."""

from pathlib import Path

import pytest

from morag.domain.content import ContentType
from morag.pipeline.conversion.converters.audio import about, language_of, seconds_reporter
from morag.pipeline.conversion.speech import Transcript
from morag.pipeline.ports import ConversionInput, Detected


class Steps(list[tuple[float, str, str]]):
    """Progress as it was reported."""

    def report(self, fraction: float, stage: str, message: str) -> None:
        self.append((fraction, stage, message))


def given(**options: str) -> ConversionInput:
    return ConversionInput(
        path=None,
        filename="talk.mp3",
        detected=Detected(content_type=ContentType.AUDIO, media_type="audio/mpeg"),
        url=None,
        options=dict(options),
        work_dir=Path(),
    )


def test_progress_is_told_in_seconds_of_the_recording() -> None:
    steps = Steps()
    seconds_reporter(steps.report, 60.0, "transcribing")(12.0)
    assert steps == [(0.2, "transcribing", "12 s of 60 s")]


def test_progress_stays_within_its_share_and_never_passes_the_end() -> None:
    steps = Steps()
    seconds_reporter(steps.report, 60.0, "transcribing", start=0.2, end=0.6)(61.0)
    assert steps == [(0.6, "transcribing", "60 s of 60 s")]


def test_a_recording_of_unknown_length_tells_the_seconds_done() -> None:
    steps = Steps()
    seconds_reporter(steps.report, None, "transcribing")(12.0)
    assert steps == [(0.0, "transcribing", "12 s")]


@pytest.mark.parametrize(("options", "language"), [({}, None), ({"language": " DE "}, "de"), ({"language": ""}, None)])
def test_the_language_is_that_of_the_options(options: dict[str, str], language: str | None) -> None:
    assert language_of(given(**options)) == language


def test_silence_has_no_language() -> None:
    silence = Transcript(utterances=(), language=None, model="tiny.en", duration_s=3.0)
    assert about(silence) == {"duration_s": 3.0, "language": None, "speech_model": "tiny.en"}
