"""What is told of a screen, and how it is woven into what is said."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from morag.domain.content import ContentType
from morag.pipeline.conversion.converters.video import build
from morag.pipeline.conversion.media import MediaInfo, Picture
from morag.pipeline.conversion.ocr import Line
from morag.pipeline.conversion.screen import Caption, captions, changes
from morag.pipeline.conversion.speech import Transcript, Utterance
from morag.pipeline.ports import ConversionInput, Detected


def picture(time_s: float, grey: int) -> Picture:
    return Picture(time_s=time_s, pixels=np.full((90, 160, 3), grey, dtype=np.uint8))


class Screen:
    """Reads the text that was given for each grey."""

    def __init__(self, texts: dict[int, Sequence[str]], confidence: float = 0.9) -> None:
        self.texts = texts
        self.confidence = confidence
        self.reads = 0

    def read(self, pixels: NDArray[np.uint8]) -> list[Line]:
        self.reads += 1
        return [
            Line(text=text, left=5, top=20.0 * n, right=60, bottom=20.0 * n + 10, confidence=self.confidence)
            for n, text in enumerate(self.texts[int(pixels[0, 0, 0])])
        ]


def told(pictures: Sequence[Picture], screen: Screen) -> list[tuple[float, float, str]]:
    return [(c.start_s, c.end_s, c.text) for c in captions(pictures, end_s=10, read=screen.read)]


def test_a_picture_that_stays_is_read_once() -> None:
    screen = Screen({50: ["Welcome"]})
    assert told([picture(n, 50) for n in range(5)], screen) == [(0, 10, "Welcome")]
    assert screen.reads == 1


def test_film_noise_is_no_new_picture() -> None:
    noise = np.random.default_rng(7)
    shots = [np.clip(noise.normal(120, 6, (360, 640, 3)), 0, 255).astype(np.uint8) for _ in range(4)]
    assert len(list(changes([Picture(time_s=n, pixels=shot) for n, shot in enumerate(shots)]))) == 1


def test_a_line_added_to_a_slide_is_a_new_picture() -> None:
    before, after = picture(0, 20), picture(1, 20)
    after.pixels[40:46, 30:90] = 230
    assert [p.time_s for p in changes([before, after])] == [0, 1]


def test_text_that_stays_while_the_picture_changes_is_told_once() -> None:
    screen = Screen({50: ["Harbour news", "High water"], 90: ["Harbour news", "Low tide at six"]})
    found = told([picture(0, 50), picture(4, 90)], screen)
    assert found[0][:2] == (0, 4)
    assert "Harbour news" in found[0][2]
    assert found[1] == (4, 10, "Low tide at six")


def test_text_misread_by_a_letter_is_the_same_text() -> None:
    screen = Screen({50: ["Observatory"], 90: ["0bservatory"]})
    assert len(told([picture(0, 50), picture(4, 90)], screen)) == 1


def test_unsure_readings_and_scraps_are_dropped() -> None:
    assert told([picture(0, 50)], Screen({50: ["Perhaps"]}, confidence=0.4)) == []
    assert told([picture(0, 50)], Screen({50: ["|-"]})) == []


def document(utterances: Sequence[Utterance], seen: Sequence[Caption], *, has_audio: bool = True) -> str:
    info = MediaInfo(
        container="mov", duration_s=20.0, has_audio=has_audio, has_video=True, width=640, height=360, title=None
    )
    given = ConversionInput(
        path=Path("clip.mp4"),
        filename="clip.mp4",
        detected=Detected(content_type=ContentType.VIDEO, media_type="video/mp4"),
        url=None,
        options={},
        work_dir=Path(),
    )
    heard = Transcript(utterances=tuple(utterances), language="en", model="tiny.en", duration_s=20.0)
    return build(given, info, heard if has_audio else None, seen).markdown


def test_speech_and_screen_are_told_in_the_order_of_time() -> None:
    words = [Utterance(start_s=0, end_s=4, text="First."), Utterance(start_s=5, end_s=8, text="Second.")]
    seen = [Caption(start_s=0, end_s=5, text="One"), Caption(start_s=5, end_s=20, text="Two")]
    assert document(words, seen).split("\n\n") == [
        "[00:00:00] On screen: One",
        "[00:00:00] First.",
        "[00:00:05] On screen: Two",
        "[00:00:05] Second.\n",
    ]


def test_a_film_without_sound_tells_its_screen() -> None:
    seen = [Caption(start_s=3, end_s=20, text="Alone")]
    assert document([], seen, has_audio=False) == "[00:00:03] On screen: Alone\n"


def test_a_film_with_neither_words_nor_text_is_empty() -> None:
    assert document([], []) == ""
