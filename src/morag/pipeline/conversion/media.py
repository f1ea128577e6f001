"""Opening sound and film: which containers, what is in them, and their samples and pictures in bounded pieces.

Used by the audio, video and YouTube converters. A demuxer that opens other files or addresses (playlists,
concatenations) is not on the list, so a file cannot make the decoder read anything but itself.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from morag.domain.errors import ConversionError

Samples: TypeAlias = NDArray[np.float32]

SAMPLE_RATE = 16_000
"""What speech models hear, hertz."""
BLOCK_S = 300
"""Seconds of sound in one block: 19 MB."""
QUIET_S = 20
"""A block ends at the quietest moment of its last so many seconds, so that no word is cut."""
LONGEST_SIDE = 1280
"""Pixels of a picture handed out; what is larger is shrunk."""
MOST_PIXELS = 8192 * 8192
"""A larger picture is not decoded."""
MOST_BAD_PACKETS = 200
"""Broken packets in a row after which the rest of a file is given up."""
KEYFRAME_GAP_S = 6.0
"""Where keyframes are further apart, in seconds, all frames are decoded."""

DEMUXERS = (
    "aac,aiff,amr,ape,asf,au,avi,caf,flac,flv,matroska,mov,mp3,mp4,mpeg,mpegts,ogg,tta,w64,wav,webm,wv,"
    "3gp,m4a,mj2,ac3,eac3"
)
"""Containers that hold all their data themselves, by their FFmpeg names."""

_SAFE = {"format_whitelist": DEMUXERS, "protocol_whitelist": "file"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInfo:
    """What a file says of itself."""

    container: str
    duration_s: float | None
    has_audio: bool
    has_video: bool
    width: int | None
    height: int | None
    title: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A stretch of mono sound at SAMPLE_RATE, -1 to 1."""

    start_s: float
    samples: Samples

    @property
    def end_s(self) -> float:
        """Where it ends, seconds."""
        return self.start_s + len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture of a film as RGB (height, width, 3), and when it is shown."""

    time_s: float
    pixels: NDArray[np.uint8]


def inspect(path: Path) -> MediaInfo:
    """What is in the file. Raises ConversionError: `broken_file` for what cannot be read, `too_large`."""
    with _opened(path) as container:
        video = _film(container)
        if video is not None and video.width * video.height > MOST_PIXELS:
            raise ConversionError(f"The film is {video.width} x {video.height} pixels.", code="too_large")
        duration = container.duration
        return MediaInfo(
            container=str(container.format.name).split(",", maxsplit=1)[0],
            duration_s=duration / 1_000_000 if duration and duration > 0 else None,
            has_audio=bool(container.streams.audio),
            has_video=video is not None,
            width=video.width if video else None,
            height=video.height if video else None,
            title=_tag(container.metadata, "title"),
        )


def sound(path: Path) -> Iterator[Block]:
    """The first sound track, mixed to mono, in blocks of at most BLOCK_S seconds that end in quiet moments.

    Raises ConversionError: `broken_file` where nothing of it can be decoded.
    """
    with _opened(path) as container:
        if not container.streams.audio:
            return
        held: list[Samples] = []
        start, count = 0, 0
        for piece in _resampled(_frames(container, container.streams.audio[0])):
            held.append(piece)
            count += len(piece)
            if count < BLOCK_S * SAMPLE_RATE:
                continue
            samples = np.concatenate(held)
            cut = quiet_moment(samples)
            yield Block(start_s=start / SAMPLE_RATE, samples=samples[:cut])
            held, start, count = [samples[cut:]], start + cut, len(samples) - cut
        if count:
            yield Block(start_s=start / SAMPLE_RATE, samples=np.concatenate(held))


def pictures(path: Path, *, every_s: float) -> Iterator[Picture]:
    """Pictures of the film at least `every_s` seconds apart: its keyframes where they are dense enough, else any.

    Raises ConversionError: `broken_file` where nothing of it can be decoded.
    """
    sparse = _keyframes_are_sparse(path)
    with _opened(path) as container:
        stream = _film(container)
        if stream is None:
            return
        if not sparse:
            stream.codec_context.skip_frame = "NONKEY"
        stream.thread_type = "AUTO"
        due = 0.0
        for frame in _frames(container, stream):
            time_s = float(frame.time or 0.0)
            if time_s >= due:
                due = time_s + every_s
                yield Picture(time_s=time_s, pixels=_pixels(frame))


@contextmanager
def _opened(path: Path) -> Generator[Any]:
    av = import_module("av")  # 0.1 s: only where media is opened
    try:
        container = av.open(str(path), "r", options=_SAFE, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise _broken() from error
    with container:
        yield container


def _broken() -> ConversionError:
    return ConversionError(
        "The file is no sound or film that can be read: it is damaged, or of a kind that is not supported.",
        code="broken_file",
        hint="Check that it plays, or convert it to MP3 or MP4 first.",
    )


def _tag(metadata: dict[str, str], name: str) -> str | None:
    found = next((value for key, value in metadata.items() if key.lower() == name), "").strip()
    return found or None


def _film(container: Any) -> Any:
    """The first moving picture; the cover of an album is none."""
    av = import_module("av")
    cover = av.stream.Disposition.attached_pic
    return next((stream for stream in container.streams.video if not stream.disposition & cover), None)


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    """All frames that decode; broken packets are passed over. Raises ConversionError if no frame does."""
    av = import_module("av")
    good, bad = 0, 0
    packets = container.demux(stream)
    while bad <= MOST_BAD_PACKETS:
        try:
            for frame in next(packets).decode():
                good, bad = good + 1, 0
                yield frame
        except StopIteration:
            break
        except av.error.FFmpegError:
            bad += 1
    if not good:
        raise _broken()


def _resampled(frames: Iterator[Any]) -> Iterator[Samples]:
    av = import_module("av")
    resampler: Any = None
    layout: tuple[object, ...] = ()
    for frame in frames:
        seen = (frame.format.name, frame.layout.name, frame.sample_rate)
        if seen != layout:  # a stream may change on the way, as broadcasts do
            yield from _drained(resampler)
            resampler, layout = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE), seen
        frame.pts = None  # gaps in the clock of a damaged file are no silence
        for piece in resampler.resample(frame):
            yield _floats(piece)
    yield from _drained(resampler)


def _drained(resampler: Any) -> Iterator[Samples]:
    for piece in resampler.resample(None) if resampler is not None else ():
        yield _floats(piece)


def _floats(frame: Any) -> Samples:
    """16-bit samples as -1 to 1; mixed as integers, because FFmpeg lets a mix of floats grow past 1."""
    samples: Samples = frame.to_ndarray().reshape(-1).astype(np.float32) / 32768
    return samples


def quiet_moment(samples: Samples) -> int:
    """The middle of the quietest quarter second near the end, as an index of the samples."""
    width = SAMPLE_RATE // 4
    tail = samples[-QUIET_S * SAMPLE_RATE :]
    loudness = np.square(tail[: len(tail) // width * width]).reshape(-1, width).mean(axis=1)
    return len(samples) - len(tail) + int(loudness.argmin()) * width + width // 2


def _keyframes_are_sparse(path: Path) -> bool:
    with _opened(path) as container:
        stream = _film(container)
        times: list[float] = _keyframe_times(container, stream) if stream is not None else []
        end = float(container.duration or 0) / 1_000_000
    return any(later - earlier > KEYFRAME_GAP_S for earlier, later in pairwise([0.0, *times, end]))


def _keyframe_times(container: Any, stream: Any) -> list[float]:
    av = import_module("av")
    packets = container.demux(stream)
    try:
        return sorted(float(p.pts * stream.time_base) for p in packets if p.is_keyframe and p.pts is not None)
    except av.error.FFmpegError:
        return []  # a damaged index: decode all there is


def _pixels(frame: Any) -> NDArray[np.uint8]:
    shrink = min(LONGEST_SIDE / max(frame.width, frame.height, 1), 1.0)
    width, height = (max(round(side * shrink) // 2 * 2, 2) for side in (frame.width, frame.height))
    pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24", width=width, height=height)
    return pixels
