"""The sandbox as the settings want it: the same for a server, for `morag process` and for a user's own machine.

So the same file and options give the same bytes, wherever they are converted.
"""

from pathlib import Path

from morag.domain.errors import ConversionError
from morag.pipeline.conversion.speech_models import choose
from morag.settings import Settings
from morag.telemetry import log
from morag.worker.sandbox.sandbox import Sandbox

STALL_S = 180.0
"""A conversion silent for so long is stuck: the slowest single step known, a page of OCR, takes a few seconds."""


def sandbox_for(settings: Settings, root: Path) -> Sandbox:
    """A sandbox as the settings want it, its folders under `root`."""
    return Sandbox(
        root=root,
        memory_bytes=settings.child_memory_bytes,
        warm=settings.workers,
        read_only=_model_paths(settings),
        speech_model=settings.whisper_model,
    )


def _model_paths(settings: Settings) -> list[Path]:
    """Where the speech model's weights lie, so that conversions are let in; none if there is no such model."""
    try:
        return list(choose(settings.whisper_model).reads())
    except ConversionError as error:
        log.info("speech_model_missing", reason=error.message, hint=error.hint)
        return []
