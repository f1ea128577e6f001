"""Sound to Markdown: a transcript in paragraphs, each with the time it begins."""

from collections.abc import Callable
from pathlib import Path

from morag.domain.content import ContentType, Document, Place
from morag.domain.errors import ConversionError
from morag.domain.json import JsonObject
from morag.pipeline.conversion import media, speech
from morag.pipeline.conversion.markdown import MarkdownBuilder, escape
from morag.pipeline.conversion.speech import Transcript, Utterance, timestamp
from morag.pipeline.ports import ConversionInput, ReportProgress

OPTIONS = {"language": "the language spoken, as a code like en or de; heard if absent"}


class AudioConverter:
    """Transcribes the first sound track."""

    OPTIONS = OPTIONS

    def convert(self, given: ConversionInput, report: ReportProgress) -> Document:
        """The transcript; no text where nobody speaks. Raises ConversionError: `broken_file`, `no_audio`."""
        if given.path is None:
            raise ConversionError("There is no file.", code="broken_file")
        info = media.inspect(given.path)
        if not info.has_audio:
            raise ConversionError("The file has no sound.", code="no_audio")
        heard = transcribed(given, given.path, seconds_reporter(report, info.duration_s, "transcribing"))
        builder = MarkdownBuilder()
        for paragraph in speech.paragraphs(heard.utterances):
            add_spoken(builder, paragraph)
        return builder.document(
            content_type=ContentType.AUDIO,
            media_type=given.detected.media_type,
            title=info.title,
            metadata={**about(heard), "container": info.container},
        )


def transcribed(given: ConversionInput, path: Path, tell: Callable[[float], None]) -> Transcript:
    """What is said in a sound file, with the operator's model and the caller's language."""
    sound = media.sound(path)
    return speech.transcribe(sound, model=given.speech_model, language=language_of(given), on_progress=tell)


def language_of(given: ConversionInput) -> str | None:
    """The language the caller says is spoken."""
    language = given.options.get("language")
    return language.strip().lower() or None if isinstance(language, str) else None


def add_spoken(builder: MarkdownBuilder, paragraph: Utterance) -> None:
    """Add a paragraph of speech with its times."""
    place = Place(start_s=paragraph.start_s, end_s=paragraph.end_s)
    builder.block(escape(f"{timestamp(paragraph.start_s)} {paragraph.text}"), place)


def about(heard: Transcript) -> JsonObject:
    """What is known of a transcript."""
    return {"duration_s": round(heard.duration_s, 2), "language": heard.language, "speech_model": heard.model}


def seconds_reporter(
    report: ReportProgress, duration_s: float | None, stage: str, *, start: float = 0.0, end: float = 1.0
) -> Callable[[float], None]:
    """Turns seconds done into progress between the fractions `start` and `end`: "12 s of 60 s"."""

    def tell(done_s: float) -> None:
        if not duration_s:
            report(start, stage, f"{done_s:.0f} s")
            return
        share = min(done_s / duration_s, 1.0)
        report(start + (end - start) * share, stage, f"{min(done_s, duration_s):.0f} s of {duration_s:.0f} s")

    return tell
