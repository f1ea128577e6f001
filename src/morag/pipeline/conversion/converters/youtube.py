"""YouTube videos to Markdown: their captions, else a transcript of their sound."""

import re
from urllib.parse import parse_qs, urlsplit

from morag.domain.content import ContentType, Document
from morag.domain.errors import ConversionError
from morag.domain.json import JsonObject
from morag.pipeline.conversion import media, speech
from morag.pipeline.conversion.converters import audio
from morag.pipeline.conversion.markdown import MarkdownBuilder
from morag.pipeline.conversion.youtube_sources import (
    WATCH_URL,
    AudioSource,
    Captions,
    CaptionSource,
    Download,
    TranscriptApi,
    YtDlp,
)
from morag.pipeline.ports import ConversionInput, ReportProgress

OPTIONS = audio.OPTIONS

MEDIA_TYPE = "video/x-youtube"

_HOSTS = {"youtube.com", "www.youtube.com", "m.youtube.com", "music.youtube.com", "www.youtube-nocookie.com"}
_ID = re.compile(r"[A-Za-z0-9_-]{11}")
_DOWNLOAD_SHARE = 0.3


class YoutubeConverter:
    """Asks for captions first; fetches and transcribes the sound where there are none."""

    OPTIONS = OPTIONS

    def __init__(self, captions: CaptionSource | None = None, sound: AudioSource | None = None) -> None:
        self._captions = captions or TranscriptApi()
        self._sound = sound or YtDlp()

    def convert(self, given: ConversionInput, report: ReportProgress) -> Document:
        """What is said in the video.

        Raises ConversionError: `youtube_url`, `youtube_unreachable`, `youtube_unavailable`, `youtube_age_restricted`,
        `youtube_live`, `youtube_failed`, `no_audio`.
        """
        video = video_id(given.url or "")
        report(0.0, "fetching", "asking for captions")
        found = self._captions.captions(video, audio.language_of(given))
        if found is not None and found.utterances:
            report(1.0, "fetching", "captions received")
            return _from_captions(video, found)
        fetched = self._sound.download(
            video,
            given.work_dir,
            lambda share: report(share * _DOWNLOAD_SHARE, "fetching", f"sound: {share:.0%}"),
        )
        return _from_sound(video, fetched, given, report)


def video_id(url: str) -> str:
    """The id in any form of address of one video. Raises ConversionError: `youtube_url`."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        raise _refused(is_list=False) from None
    host = (parts.hostname or "").lower()
    path = [part for part in parts.path.split("/") if part]
    candidate = ""
    if host == "youtu.be" and path:
        candidate = path[0]
    elif host in _HOSTS and path[:1] == ["watch"]:
        candidate = parse_qs(parts.query).get("v", [""])[0]
    elif host in _HOSTS and len(path) > 1 and path[0] in {"shorts", "live", "embed", "v"}:
        candidate = path[1]
    if parts.scheme not in {"http", "https"} or not _ID.fullmatch(candidate):
        raise _refused(is_list=host in _HOSTS and path[:1] == ["playlist"])
    return candidate


def _refused(*, is_list: bool) -> ConversionError:
    what = "A playlist is many videos" if is_list else "This is no address of a YouTube video"
    return ConversionError(
        f"{what}.", code="youtube_url", hint="Give the address of one video, such as https://youtu.be/…"
    )


def _from_captions(video: str, found: Captions) -> Document:
    about: JsonObject = {
        "language": found.language,
        "captions": "generated" if found.is_generated else "written",
        "duration_s": found.utterances[-1].end_s,
    }
    return _document(video, found.utterances, found.title, about)


def _from_sound(video: str, fetched: Download, given: ConversionInput, report: ReportProgress) -> Document:
    info = media.inspect(fetched.path)
    if not info.has_audio:
        raise ConversionError("The video has no sound and no captions.", code="no_audio")
    tell = audio.seconds_reporter(report, info.duration_s, "transcribing", start=_DOWNLOAD_SHARE)
    heard = audio.transcribed(given, fetched.path, tell)
    return _document(
        video, heard.utterances, fetched.title or info.title, {**audio.about(heard), "channel": fetched.channel}
    )


def _document(video: str, said: tuple[speech.Utterance, ...], title: str | None, about: JsonObject) -> Document:
    builder = MarkdownBuilder()
    for paragraph in speech.paragraphs(said):
        audio.add_spoken(builder, paragraph)
    return builder.document(
        content_type=ContentType.YOUTUBE,
        media_type=MEDIA_TYPE,
        title=title,
        metadata={**about, "video_id": video, "url": WATCH_URL + video},
    )
