"""The samples one sees and hears: a scanned page, a spoken message, a clip with speech and slides."""

import shutil
import subprocess
import wave
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from world import LOGBOOK, SLIDES_SPOKEN, SPEECH

SAMPLE_RATE = 22_050
"""What espeak-ng speaks at, hertz."""
VOICE = ("-v", "en-gb", "-s", "140")
CLIP_SIZE = (640, 360)
CLIP_RATE = 10
PAUSE_S = 0.8


def can_speak() -> bool:
    """Whether espeak-ng is installed."""
    return shutil.which("espeak-ng") is not None


def _spoken(text: str) -> npt.NDArray[np.int16]:
    """A text as 16-bit mono samples, a short pause after it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        subprocess.run(["espeak-ng", *VOICE, "-w", str(path), text], check=True)  # noqa: S607 - a fixed program and our own text
        with wave.open(str(path)) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
    return np.concatenate([samples, np.zeros(int(PAUSE_S * SAMPLE_RATE), dtype=np.int16)])


def _encode_audio(container: Any, stream: Any, samples: npt.NDArray[np.int16]) -> None:
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate, frame.pts = SAMPLE_RATE, 0
    resampler = av.AudioResampler(format=stream.format, layout="mono", rate=stream.rate, frame_size=stream.frame_size)
    for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
        container.mux(stream.encode(piece))


def speech(path: Path) -> None:
    """About 20 seconds of clear speech as MP3."""
    container: Any
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono")
        stream.bit_rate = 48_000
        _encode_audio(container, stream, _spoken(SPEECH))


def clip(path: Path) -> None:
    """A short film: three slides, each shown while its sentence is spoken."""
    spoken = [_spoken(words) for _, _, words in SLIDES_SPOKEN]
    container: Any
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=CLIP_RATE, options={"crf": "30", "preset": "slow", "threads": "1"})
        video.width, video.height = CLIP_SIZE
        video.pix_fmt, video.time_base = "yuv420p", Fraction(1, CLIP_RATE)
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        audio.bit_rate = 48_000
        for (title, line, _), samples in zip(SLIDES_SPOKEN, spoken, strict=True):
            frame = cast("Any", av.VideoFrame).from_image(_slide(title, line))
            for _ in range(round(len(samples) / SAMPLE_RATE * CLIP_RATE)):
                frame.pts = None
                container.mux(video.encode(frame))
        container.mux(video.encode(None))
        _encode_audio(container, audio, np.concatenate(spoken))


def _slide(title: str, line: str) -> Image.Image:
    image = Image.new("RGB", CLIP_SIZE, "#12314a")
    draw = ImageDraw.Draw(image)
    draw.text((40, 90), title, font=ImageFont.load_default(46), fill="white")
    draw.text((40, 190), line, font=ImageFont.load_default(36), fill="#ffd27d")
    return image


def scan(path: Path) -> None:
    """A page of the logbook as a scanner gives it: grey paper, a slight turn, noise."""
    page = Image.new("L", (1100, 900), 246)
    draw, top = ImageDraw.Draw(page), 70
    for row, text in enumerate(LOGBOOK):
        size = 48 if row == 0 else 30
        draw.text((80, top), text, font=ImageFont.load_default(size), fill=40)
        top += (size * 3) // 2 if text else 24
    turned = page.rotate(0.8, expand=False, fillcolor=246, resample=Image.Resampling.BICUBIC)
    noise = np.random.default_rng(1987).normal(0, 5, (900, 1100))
    grey = np.clip(np.asarray(turned, dtype=np.float64) + noise, 0, 255)
    Image.fromarray((grey // 16 * 16).astype(np.uint8)).save(path, optimize=True)
