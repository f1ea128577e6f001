"""Subtitles (SRT and WebVTT) as paragraphs, each with the time it is shown."""

import re
from collections.abc import Iterator

from morag.domain.content import Document
from morag.domain.errors import ConversionError
from morag.pipeline.conversion import speech
from morag.pipeline.conversion.converters.audio import add_spoken
from morag.pipeline.conversion.encoding import decode
from morag.pipeline.conversion.markdown import MarkdownBuilder, one_line
from morag.pipeline.conversion.sources import file_of
from morag.pipeline.conversion.speech import Utterance
from morag.pipeline.ports import ConversionInput, ReportProgress

_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_CUE = re.compile(rf"[ \t]*{_TIME}[ \t]*-->[ \t]*{_TIME}[^\n]*\n?")
_SPEAKER = re.compile(r"<v(?:\.[\w.]*)?[ \t]+([^>]{1,80})>")
_TAG = re.compile(r"</?[A-Za-z0-9][^<>\n]{0,200}>|\{\\[^{}\n]{0,40}\}")
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&nbsp;", " "), ("&lrm;", ""), ("&rlm;", ""), ("&amp;", "&"))


class SubtitlesConverter:
    """SRT and WebVTT to Markdown."""

    def convert(self, given: ConversionInput, report: ReportProgress) -> Document:
        """The document. Raises ConversionError: `broken_file`."""
        report(0.1, "processing", "reading the subtitles")
        text, encoding = decode(file_of(given).read_bytes())
        shown = list(cues(text))
        if not shown:
            raise ConversionError(
                "There is no subtitle with a time in the file.",
                code="broken_file",
                hint="A time looks like 00:00:01,000 --> 00:00:04,000.",
            )
        builder = MarkdownBuilder()
        for paragraph in speech.paragraphs(shown):
            add_spoken(builder, paragraph)
        return builder.document(
            content_type=given.detected.content_type,
            media_type=given.detected.media_type,
            metadata={"encoding": encoding, "duration_s": shown[-1].end_s},
        )


def cues(text: str) -> Iterator[Utterance]:
    """What is shown and when; lines that stay while others join them, as live captions do, are told once."""
    found = list(_CUE.finditer(text))
    last: list[str] = []
    for at, cue in enumerate(found):
        end = found[at + 1].start() if at + 1 < len(found) else len(text)
        block = text[cue.end() : end].split("\n\n", 1)[0]
        lines = [line for line in map(_plain, block.splitlines()) if line]
        fresh = [line for line in lines if line not in last]
        last = lines or last
        if fresh:
            start_s, end_s = _seconds(cue.groups()[:4]), _seconds(cue.groups()[4:])
            yield Utterance(start_s=start_s, end_s=max(start_s, end_s), text=" ".join(fresh))


def _plain(line: str) -> str:
    text = _TAG.sub("", _SPEAKER.sub(r"\1: ", line))
    for entity, char in _ENTITIES:
        text = text.replace(entity, char)
    return one_line(text)


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = (part or "0" for part in parts)
    return round(int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000, 3)
