"""The samples and damaged files through the real decoders and models."""

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest

from morag.domain.content import ContentType, Document
from morag.domain.errors import ConversionError
from morag.domain.json import JsonObject
from morag.pipeline.conversion import media, speech
from morag.pipeline.conversion.converters.audio import AudioConverter
from morag.pipeline.conversion.converters.video import VideoConverter
from morag.pipeline.conversion.converters.youtube import YoutubeConverter
from morag.pipeline.conversion.youtube_sources import Captions, Download
from morag.pipeline.ports import ConversionInput, Converter, Detected

SAMPLES = Path(__file__).parents[2] / "examples" / "samples"


class Steps(list[tuple[float, str, str]]):
    """Progress as it was reported."""

    def report(self, fraction: float, stage: str, message: str) -> None:
        self.append((fraction, stage, message))


def given(path: Path | None, content_type: ContentType, work_dir: Path, **options: str) -> ConversionInput:
    return ConversionInput(
        path=path,
        filename=path.name if path else "",
        detected=Detected(content_type=content_type, media_type=f"{content_type.value}/test"),
        url=None if path else "https://youtu.be/dQw4w9WgXcQ",
        options=cast("JsonObject", options),
        work_dir=work_dir,
    )


def convert(converter: Converter, path: Path, steps: Steps | None = None, *, language: str = "") -> Document:
    kinds = {AudioConverter: ContentType.AUDIO, VideoConverter: ContentType.VIDEO}
    content_type = kinds[type(converter)]  # pyright: ignore[reportArgumentType] - one of the two
    report = (Steps() if steps is None else steps).report
    return converter.convert(given(path, content_type, path.parent, language=language), report)


def refusal(converter: Converter, path: Path, *, language: str = "") -> ConversionError:
    with pytest.raises(ConversionError) as caught:
        convert(converter, path, language=language)
    return caught.value


def place_of(document: Document, words: str) -> Any:
    at = document.markdown.lower().index(words.lower())
    return next(s.place for s in document.segments if s.text_start <= at < s.text_end)


def write_film(path: Path, shades: list[int], *, seconds_each: int = 2, keyframes: int = 250) -> Path:
    """A silent film of plain pictures."""
    container: Any
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt, stream.time_base = 64, 48, "yuv420p", Fraction(1, 5)
        stream.codec_context.gop_size = keyframes
        for shade in shades:
            frame = cast("Any", av.VideoFrame).from_ndarray(np.full((48, 64, 3), shade, np.uint8), format="rgb24")
            for _ in range(5 * seconds_each):
                frame.pts = None
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path, samples: "np.ndarray[Any, np.dtype[np.int16]]", rate: int = 16_000) -> Path:
    layout = "stereo" if samples.shape[0] == 2 else "mono"
    container: Any
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(samples.T.reshape(1, -1).copy(), format="s16", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


# sound


def test_speech_is_transcribed_with_its_times() -> None:
    steps = Steps()
    found = convert(AudioConverter(), SAMPLES / "speech.mp3", steps)
    assert "spare key is kept behind the blue clock" in found.markdown
    assert 0 <= place_of(found, "blue clock").start_s < place_of(found, "before breakfast").end_s <= 22
    assert found.metadata["language"] == "en"
    assert found.metadata["duration_s"] == pytest.approx(21.2, abs=0.2)
    assert steps[-1] == (1.0, "transcribing", "21 s of 21 s")
    assert [step[0] for step in steps] == sorted(step[0] for step in steps)


@pytest.mark.parametrize("loudness", [0, 2000])
def test_silence_and_noise_are_not_made_into_words(tmp_path: Path, loudness: int) -> None:
    noise = np.random.default_rng(3).normal(0, 1, (1, 16_000 * 12)) * loudness
    path = write_sound(tmp_path / "quiet.wav", noise.astype(np.int16))
    found = convert(AudioConverter(), path)
    assert (found.markdown, found.segments, found.metadata["language"]) == ("", (), None)


def test_stereo_at_another_rate_is_mixed_to_what_the_model_hears(tmp_path: Path) -> None:
    tone = (np.sin(np.arange(44_100 * 2) * 0.05) * 8000).astype(np.int16)
    path = write_sound(tmp_path / "stereo.wav", np.stack([tone, tone // 2]), rate=44_100)
    blocks = list(media.sound(path))
    assert sum(len(block.samples) for block in blocks) == pytest.approx(32_000, abs=400)
    assert float(np.abs(blocks[0].samples).max()) == pytest.approx(8000 * 0.75 / 32768, rel=0.1)


def test_a_long_recording_comes_in_blocks_without_gaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "BLOCK_S", 30)
    noise = np.random.default_rng(3).normal(0, 900, (1, 16_000 * 75)).astype(np.int16)
    path = write_sound(tmp_path / "long.wav", noise)
    blocks = list(media.sound(path))
    assert len(blocks) >= 3
    assert all(block.end_s - block.start_s < 35 for block in blocks)
    assert [b.start_s for b in blocks[1:]] == pytest.approx([b.end_s for b in blocks[:-1]])
    assert blocks[-1].end_s == pytest.approx(75)


def test_a_recording_cut_off_gives_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "cut.mp3"
    path.write_bytes((SAMPLES / "speech.mp3").read_bytes()[:60_000])
    found = convert(AudioConverter(), path)
    assert "Martin" in found.markdown
    assert cast("float", found.metadata["duration_s"]) < 12


def test_a_language_the_model_does_not_know_is_refused() -> None:
    error = refusal(AudioConverter(), SAMPLES / "speech.mp3", language="xx")
    assert (error.code, "It knows: " in (error.hint or "")) == ("language_not_supported", True)


def test_a_film_without_sound_is_no_recording(tmp_path: Path) -> None:
    assert refusal(AudioConverter(), write_film(tmp_path / "mute.mp4", [10])).code == "no_audio"


@pytest.mark.parametrize("converter", [AudioConverter(), VideoConverter()])
@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"hello world " * 400, b"RIFF\xff\xff\xff\xffWAVEfmt "])
def test_what_is_no_media_is_a_broken_file(tmp_path: Path, converter: Converter, content: bytes) -> None:
    path = tmp_path / "broken.wav"
    path.write_bytes(content)
    assert refusal(converter, path).code == "broken_file"


@pytest.mark.parametrize("converter", [AudioConverter(), VideoConverter()])
@pytest.mark.parametrize(
    "playlist",
    [
        "ffconcat version 1.0\nfile secret.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.mp4\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 49170 RTP/AVP 0\n",
    ],
)
def test_a_playlist_does_not_make_the_decoder_open_other_files(
    tmp_path: Path, converter: Converter, playlist: str
) -> None:
    (tmp_path / "secret.mp4").write_bytes((SAMPLES / "clip.mp4").read_bytes())
    path = tmp_path / "innocent.mp4"
    path.write_text(playlist)
    assert refusal(converter, path).code == "broken_file"


# film


def test_a_clip_tells_what_is_said_and_what_is_on_the_screen() -> None:
    steps = Steps()
    found = convert(VideoConverter(), SAMPLES / "clip.mp4", steps)
    assert "lifeboat holds 14 people" in found.markdown
    assert found.markdown.count("Holds fourteen people") == 1
    assert place_of(found, "Call on channel 72").start_s == pytest.approx(10, abs=1)
    assert (found.metadata["width"], found.metadata["height"]) == (640, 360)
    assert steps[-1][0] == 1.0
    assert [step[0] for step in steps] == sorted(step[0] for step in steps)


def test_a_film_without_sound_or_text_is_empty_but_no_error(tmp_path: Path) -> None:
    found = convert(VideoConverter(), write_film(tmp_path / "mute.mp4", [10, 200]))
    assert (found.markdown, found.metadata["duration_s"]) == ("", pytest.approx(4.0, abs=0.3))


@pytest.mark.parametrize("keyframes", [5, 250])
def test_every_scene_is_seen_however_rare_keyframes_are(tmp_path: Path, keyframes: int) -> None:
    path = write_film(tmp_path / "scenes.mp4", [10, 90, 170, 250], seconds_each=3, keyframes=keyframes)
    shades = [int(p.pixels.mean() / 40) for p in media.pictures(path, every_s=1.0)]
    assert sorted(set(shades)) == [0, 2, 4, 6]


def test_a_film_cut_off_is_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    path.write_bytes((SAMPLES / "clip.mp4").read_bytes()[:60_000])
    assert refusal(VideoConverter(), path).code == "broken_file"


# YouTube


class SampleSound:
    """Hands over the sample as what was fetched."""

    def captions(self, video_id: str, language: str | None) -> Captions | None:
        assert (len(video_id), language) == (11, None)

    def download(self, video_id: str, folder: Path, on_progress: Any) -> Download:
        assert len(video_id) == 11
        path = folder / "sound.mp3"
        path.write_bytes((SAMPLES / "speech.mp3").read_bytes())
        on_progress(1.0)
        return Download(path=path, title="The night keeper", channel="Skerrow Point")


def test_a_video_without_captions_is_heard(tmp_path: Path) -> None:
    steps = Steps()
    source = SampleSound()
    found = YoutubeConverter(source, source).convert(given(None, ContentType.YOUTUBE, tmp_path), steps.report)
    assert "behind the blue clock" in found.markdown
    assert (found.title, found.metadata["channel"]) == ("The night keeper", "Skerrow Point")
    assert [step[0] for step in steps] == sorted(step[0] for step in steps)


def test_a_network_without_youtube_is_told_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_args: object, **_more: object) -> list[object]:
        raise OSError("no such host")

    monkeypatch.setattr("socket.getaddrinfo", nowhere)
    with pytest.raises(ConversionError) as caught:
        YoutubeConverter().convert(given(None, ContentType.YOUTUBE, tmp_path), Steps().report)
    assert caught.value.code == "youtube_unreachable"
    assert "upload" in (caught.value.hint or "")


def test_the_model_is_loaded_once() -> None:
    speech.speech_models.load(speech.speech_models.AUTO)
    first = sys.modules["faster_whisper"]
    loads = speech.speech_models.load.cache_info().misses
    convert(AudioConverter(), SAMPLES / "speech.mp3")
    assert (sys.modules["faster_whisper"], speech.speech_models.load.cache_info().misses) == (first, loads)
