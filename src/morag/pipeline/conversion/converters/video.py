"""Film to Markdown: what is said and what is written on the screen, in the order of time."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from morag.domain.content import ContentType, Document, Place
from morag.domain.errors import ConversionError
from morag.domain.json import JsonObject
from morag.pipeline.conversion import media, ocr, speech
from morag.pipeline.conversion.converters import audio
from morag.pipeline.conversion.markdown import MarkdownBuilder
from morag.pipeline.conversion.media import MediaInfo, Picture
from morag.pipeline.conversion.screen import Caption, captions
from morag.pipeline.conversion.speech import Transcript, Utterance, timestamp
from morag.pipeline.ports import ConversionInput, ReportProgress

OPTIONS = audio.OPTIONS

EVERY_S = 1.0
"""Seconds between two pictures looked at, at least."""
MOST_PICTURES = 900
"""Pictures looked at in one film: at 0.7 s each about ten minutes of reading if all of them differ."""
SPEECH_SHARE = 0.6
"""Of the progress, where there are both sound and picture."""


class VideoConverter:
    """Transcribes the sound and reads the screen."""

    OPTIONS = OPTIONS

    def convert(self, given: ConversionInput, report: ReportProgress) -> Document:
        """Both in the order of time. Raises ConversionError: `broken_file`, `too_large`."""
        if given.path is None:
            raise ConversionError("There is no file.", code="broken_file")
        info = media.inspect(given.path)
        share = SPEECH_SHARE if info.has_video else 1.0
        heard = _heard(given, given.path, info, report, share) if info.has_audio else None
        seen = _seen(given.path, info, report, share if heard else 0.0)
        return build(given, info, heard, seen)


def _heard(given: ConversionInput, path: Path, info: MediaInfo, report: ReportProgress, share: float) -> Transcript:
    tell = audio.seconds_reporter(report, info.duration_s, "transcribing", end=share)
    return audio.transcribed(given, path, tell)


def _seen(path: Path, info: MediaInfo, report: ReportProgress, start: float) -> list[Caption]:
    if not info.has_video:
        return []
    duration = info.duration_s or 0.0
    tell = audio.seconds_reporter(report, info.duration_s, "reading the screen", start=start)

    def watched() -> Iterator[Picture]:
        for picture in media.pictures(path, every_s=max(EVERY_S, duration / MOST_PICTURES)):
            tell(picture.time_s)
            yield picture

    found = list(captions(watched(), end_s=duration, read=ocr.read_image))
    tell(duration)
    return found


def build(given: ConversionInput, info: MediaInfo, heard: Transcript | None, seen: Sequence[Caption]) -> Document:
    """The document of what was heard and seen."""
    builder = MarkdownBuilder()
    spoken = _spoken(heard.utterances, seen) if heard else ()
    for part in sorted([*spoken, *seen], key=lambda part: (part.start_s, isinstance(part, Utterance))):
        if isinstance(part, Utterance):
            audio.add_spoken(builder, part)
        else:
            _add_seen(builder, part)
    return builder.document(
        content_type=ContentType.VIDEO,
        media_type=given.detected.media_type,
        title=info.title,
        metadata=_about(info, heard),
    )


def _spoken(utterances: Iterable[Utterance], seen: Sequence[Caption]) -> Iterator[Utterance]:
    """Paragraphs of speech; each new picture with text begins one."""
    starts = [caption.start_s for caption in seen]
    for _, group in groupby(utterances, lambda said: bisect_right(starts, (said.start_s + said.end_s) / 2)):
        yield from speech.paragraphs(group)


def _add_seen(builder: MarkdownBuilder, caption: Caption) -> None:
    place = Place(start_s=round(caption.start_s, 2), end_s=round(caption.end_s, 2))
    builder.block(f"{timestamp(caption.start_s)} On screen: {caption.text}", place)


def _about(info: MediaInfo, heard: Transcript | None) -> JsonObject:
    told = audio.about(heard) if heard else {}
    duration = info.duration_s or (heard.duration_s if heard else None)
    return {
        **told,
        "duration_s": round(duration, 2) if duration else None,
        "width": info.width,
        "height": info.height,
        "container": info.container,
    }
