"""YouTube by captions and sound that are handed in, and every way it can fail."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from morag.domain.content import ContentType
from morag.domain.errors import ConversionError
from morag.pipeline.conversion import youtube_sources
from morag.pipeline.conversion.converters.youtube import YoutubeConverter, video_id
from morag.pipeline.conversion.speech import Utterance
from morag.pipeline.conversion.youtube_sources import Captions, Download, choose, explain, spoken
from morag.pipeline.ports import ConversionInput, Detected

VIDEO = "dQw4w9WgXcQ"


def given(url: str, work_dir: Path, **options: str) -> ConversionInput:
    return ConversionInput(
        path=None,
        filename="",
        detected=Detected(content_type=ContentType.YOUTUBE, media_type="video/x-youtube"),
        url=url,
        options=dict(options),
        work_dir=work_dir,
    )


@dataclass
class FakeCaptions:
    answer: Captions | ConversionError | None
    asked: tuple[str, str | None] | None = None

    def captions(self, video_id: str, language: str | None) -> Captions | None:
        self.asked = (video_id, language)
        if isinstance(self.answer, ConversionError):
            raise self.answer
        return self.answer


class NoSound:
    def download(self, video_id: str, folder: Path, on_progress: Callable[[float], None]) -> Download:
        assert (video_id, folder.is_dir()) == (VIDEO, True)
        on_progress(0.5)
        raise youtube_sources.unavailable()


@dataclass(frozen=True)
class Offered:
    language_code: str
    is_generated: bool


@pytest.mark.parametrize(
    "url",
    [
        f"https://www.youtube.com/watch?v={VIDEO}",
        f"https://www.youtube.com/watch?list=PL123&v={VIDEO}&t=42s",
        f"http://m.youtube.com/watch?v={VIDEO}",
        f"https://youtu.be/{VIDEO}?si=abc",
        f"https://www.youtube.com/shorts/{VIDEO}",
        f"https://youtube.com/live/{VIDEO}?feature=share",
        f"https://www.youtube-nocookie.com/embed/{VIDEO}",
    ],
)
def test_every_form_of_address_leads_to_the_video(url: str) -> None:
    assert video_id(url) == VIDEO


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://www.youtube.com/playlist?list=PL123",
        "https://www.youtube.com/@somebody",
        f"https://www.youtube.com.evil.example/watch?v={VIDEO}",
        f"https://evil.example/?u=youtube.com/watch?v={VIDEO}",
        f"file:///watch?v={VIDEO}",
        "https://youtu.be/too-short",
        "https://[youtu.be",
    ],
)
def test_what_is_no_video_is_refused(url: str) -> None:
    with pytest.raises(ConversionError) as caught:
        video_id(url)
    assert caught.value.code == "youtube_url"


def test_captions_become_paragraphs_with_times(tmp_path: Path) -> None:
    source = FakeCaptions(
        Captions(
            utterances=(
                Utterance(start_s=1, end_s=3, text="Hello there."),
                Utterance(start_s=9, end_s=11, text="# Later."),
            ),
            language="en",
            is_generated=False,
            title="A talk",
        )
    )
    told: list[float] = []

    def report(fraction: float, _stage: str, _message: str) -> None:
        told.append(fraction)

    found = YoutubeConverter(source, NoSound()).convert(
        given(f"https://youtu.be/{VIDEO}", tmp_path, language="EN"), report
    )
    assert found.markdown == "[00:00:01] Hello there.\n\n[00:00:09] # Later.\n"
    assert [(s.place.start_s, s.place.end_s) for s in found.segments] == [(1, 3), (9, 11)]
    assert (found.title, found.metadata["video_id"], found.metadata["captions"]) == ("A talk", VIDEO, "written")
    assert source.asked == (VIDEO, "en")
    assert told[-1] == 1.0


def test_a_video_without_captions_is_asked_for_its_sound(tmp_path: Path) -> None:
    with pytest.raises(ConversionError) as caught:
        YoutubeConverter(FakeCaptions(None), NoSound()).convert(given(f"https://youtu.be/{VIDEO}", tmp_path), print)
    assert caught.value.code == "youtube_unavailable"


@pytest.mark.parametrize(
    "error", [youtube_sources.unreachable(), youtube_sources.age_restricted(), youtube_sources.unavailable()]
)
def test_a_refusal_ends_the_conversion_with_advice(error: ConversionError, tmp_path: Path) -> None:
    with pytest.raises(ConversionError) as caught:
        YoutubeConverter(FakeCaptions(error), NoSound()).convert(given(f"https://youtu.be/{VIDEO}", tmp_path), print)
    assert caught.value.code == error.code
    assert caught.value.hint


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("Sign in to confirm your age. This video may be inappropriate for some users.", "youtube_age_restricted"),
        ("Sign in to confirm you're not a bot", "youtube_unreachable"),
        ("Unable to download API page: HTTP Error 429: Too Many Requests", "youtube_unreachable"),
        ("Unable to download API page: Failed to resolve 'www.youtube.com'", "youtube_unreachable"),
        ("[youtube] x: Private video. Sign in if you've been granted access", "youtube_unavailable"),
        ("Video unavailable. This video has been removed by the uploader", "youtube_unavailable"),
        ("Requested format is not supported", "youtube_failed"),
    ],
)
def test_what_the_download_says_is_told_plainly(message: str, code: str) -> None:
    assert explain(f"ERROR: {message}").code == code


def test_captions_written_by_people_in_the_language_spoken_come_first() -> None:
    offered = [
        Offered("de", is_generated=False),
        Offered("en-GB", is_generated=False),
        Offered("en", is_generated=True),
    ]
    assert choose(offered, None) == Offered("en-GB", is_generated=False)


def test_generated_captions_are_taken_where_nobody_wrote_any() -> None:
    assert choose([Offered("en", is_generated=True)], None) == Offered("en", is_generated=True)


def test_a_wanted_language_that_is_not_offered_is_no_caption() -> None:
    assert choose([Offered("en", is_generated=True)], "fr") is None


def test_overlapping_captions_end_where_the_next_begins_and_noises_are_dropped() -> None:
    found = spoken([(0, 5, "hello\nthere"), (1, 1, "[Music]"), (3, 4, "again")])
    assert found == (Utterance(start_s=0, end_s=3, text="hello there"), Utterance(start_s=3, end_s=7, text="again"))
