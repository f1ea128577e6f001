"""What YouTube gives of a video: its captions, else its sound. The only conversion that reaches the network.

The YouTube converter takes these two as ports, so that it can be handed captions and sound from elsewhere.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from morag.domain.errors import ConversionError
from morag.pipeline.conversion.speech import Utterance
from morag.telemetry import log

TIMEOUT_S = 20.0
"""For each answer of YouTube."""
MOST_BYTES = 2 * 1024**3
"""Of sound fetched."""
WATCH_URL = "https://www.youtube.com/watch?v="

_BLOCKED = re.compile(r"not a bot|HTTP Error (403|429)|blocked|Unable to download|timed out|resolve", re.IGNORECASE)
_ADULT = re.compile(r"confirm your age|age.restricted|inappropriate for some users", re.IGNORECASE)
_GONE = re.compile(
    r"unavailable|private video|removed|terminated|not available|members.only|does not exist|premieres in",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Captions:
    """The captions of a video, in order of time."""

    utterances: tuple[Utterance, ...]
    language: str
    is_generated: bool
    """Whether YouTube heard them itself."""
    title: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """The sound of a video as a file."""

    path: Path
    title: str | None
    channel: str | None


class CaptionSource(Protocol):
    """Where captions come from."""

    def captions(self, video_id: str, language: str | None) -> Captions | None:
        """The captions in a language, else in the one spoken; None if there are none. Raises ConversionError."""
        ...


class AudioSource(Protocol):
    """Where the sound comes from."""

    def download(self, video_id: str, folder: Path, on_progress: Callable[[float], None]) -> Download:
        """Put the sound into `folder`, telling the share done, 0 to 1. Raises ConversionError."""
        ...


def unreachable() -> ConversionError:
    """The error for a network that keeps YouTube away, or that YouTube keeps away."""
    return ConversionError(
        "YouTube cannot be reached from here, or refuses requests from this network.",
        code="youtube_unreachable",
        hint="Run a worker on a machine that can open the video (at home, say), or fetch it there and upload it.",
    )


def unavailable() -> ConversionError:
    """The error for a video that is gone or private."""
    return ConversionError(
        "The video is not available: it is private, removed, not yet shown, or not offered in this country.",
        code="youtube_unavailable",
        hint="Check that it plays in a browser without signing in.",
    )


def age_restricted() -> ConversionError:
    """The error for a video that asks for an age."""
    return ConversionError(
        "The video is age-restricted; it needs a signed-in account.",
        code="youtube_age_restricted",
        hint="Fetch it with your account and upload the file.",
    )


class TranscriptApi:
    """Captions by youtube-transcript-api."""

    def captions(self, video_id: str, language: str | None) -> Captions | None:
        """As the port says; None also where YouTube withholds captions it has."""
        api: Any = import_module("youtube_transcript_api")
        requests: Any = import_module("requests")
        session = _session(requests)
        try:
            chosen = choose(list(api.YouTubeTranscriptApi(http_client=session).list(video_id)), language)
            fetched = chosen.fetch() if chosen is not None else None
        except requests.RequestException as error:
            raise unreachable() from error
        except api.AgeRestricted as error:
            raise age_restricted() from error
        except (api.VideoUnavailable, api.InvalidVideoId) as error:
            raise unavailable() from error
        except api.YouTubeTranscriptApiException as error:
            log.info("youtube_captions_missing", reason=type(error).__name__)
            return None
        if fetched is None:
            return None
        return Captions(
            utterances=spoken([(s.start, s.duration, s.text) for s in fetched.snippets]),
            language=str(fetched.language_code),
            is_generated=bool(fetched.is_generated),
            title=_title(session, requests, video_id),
        )


def choose(offered: Sequence[Any], language: str | None) -> Any:
    """The transcript to take: the wanted language, else the one spoken; written by people before heard by YouTube."""
    by_people_first = sorted(offered, key=lambda transcript: bool(transcript.is_generated))
    heard = next((transcript.language_code for transcript in offered if transcript.is_generated), None)
    wanted = language or heard
    fitting = [t for t in by_people_first if wanted and _same_language(t.language_code, wanted)]
    return next(iter(fitting or ([] if language else by_people_first)), None)


def _same_language(one: str, other: str) -> bool:
    return one.lower().split("-")[0] == other.lower().split("-")[0]


def spoken(snippets: Iterable[tuple[float, float, str]]) -> tuple[Utterance, ...]:
    """(start, duration, text) as utterances; captions that overlap end where the next begins."""
    kept = [(start, start + duration, " ".join(text.split())) for start, duration, text in snippets]
    kept = [snippet for snippet in kept if snippet[2] and not re.fullmatch(r"[\[(].*[\])]", snippet[2])]
    starts = [start for start, _, _ in kept[1:]] + [float("inf")]
    return tuple(
        Utterance(start_s=round(start, 2), end_s=round(max(start, min(end, following)), 2), text=text)
        for (start, end, text), following in zip(kept, starts, strict=True)
    )


def _session(requests: Any) -> Any:
    """A session that ignores proxies of the environment and waits TIMEOUT_S at most."""
    session = requests.Session()
    session.trust_env = False
    session.request = partial(session.request, timeout=TIMEOUT_S)  # the library sets none
    return session


def _title(session: Any, requests: Any, video_id: str) -> str | None:
    try:
        answer = session.get("https://www.youtube.com/oembed", params={"url": WATCH_URL + video_id, "format": "json"})
        return str(answer.json()["title"]) if answer.ok else None
    except (requests.RequestException, KeyError, ValueError, TypeError) as error:
        log.info("youtube_title_missing", reason=type(error).__name__)
        return None


class YtDlp:
    """Sound by yt-dlp."""

    def download(self, video_id: str, folder: Path, on_progress: Callable[[float], None]) -> Download:
        """As the port says. Live streams are refused: they have no end."""
        library: Any = import_module("yt_dlp")
        with library.YoutubeDL(_options(folder, on_progress)) as fetcher:
            try:
                info = fetcher.extract_info(WATCH_URL + video_id, download=False)
                if info.get("is_live"):
                    raise ConversionError("The video is live now.", code="youtube_live", hint="Wait for its end.")
                fetcher.process_ie_result(info, download=True)
            except library.utils.DownloadError as error:
                raise explain(str(error)) from error
        path = next(iter(sorted(folder.glob("sound.*"))), None)
        if path is None:
            raise ConversionError("The sound of the video is too large to fetch.", code="too_large")
        return Download(path=path, title=info.get("title"), channel=info.get("channel"))


def explain(message: str) -> ConversionError:
    """What an error of yt-dlp means."""
    if _ADULT.search(message):
        return age_restricted()
    if _BLOCKED.search(message):
        return unreachable()
    if _GONE.search(message):
        return unavailable()
    return ConversionError(
        "YouTube gave no sound for this video.",
        code="youtube_failed",
        hint="A newer yt-dlp may know how: pip install -U yt-dlp",
    )


class _Silent:
    """Takes the messages of yt-dlp; what matters comes as an error."""

    def debug(self, _message: str) -> None: ...

    def warning(self, _message: str) -> None: ...

    def error(self, _message: str) -> None: ...


def _options(folder: Path, on_progress: Callable[[float], None]) -> dict[str, Any]:
    def tell(state: dict[str, Any]) -> None:
        whole = state.get("total_bytes") or state.get("total_bytes_estimate")
        if whole:
            on_progress(min(float(state.get("downloaded_bytes") or 0) / float(whole), 1.0))

    return {
        "format": "bestaudio[abr<=130]/bestaudio/worst",
        "outtmpl": str(folder / "sound.%(ext)s"),
        "allowed_extractors": ["youtube"],
        "noplaylist": True,
        "cachedir": False,
        "proxy": "",
        "socket_timeout": TIMEOUT_S,
        "retries": 2,
        "extractor_retries": 1,
        "max_filesize": MOST_BYTES,
        "logger": _Silent(),
        "noprogress": True,
        "progress_hooks": [tell],
    }
