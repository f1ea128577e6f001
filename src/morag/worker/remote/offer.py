"""What this machine can do, found out by trying, before it offers anything to a server."""

import asyncio
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from morag.domain.content import ContentType
from morag.domain.errors import ConversionError, MoragError
from morag.domain.json import JsonObject
from morag.pipeline.conversion.registry import FORMATS
from morag.pipeline.conversion.speech_models import choose

TRIAL_S = 60.0
"""Importing takes seconds; what takes longer hangs."""
AT_ONCE = 2
GPU_S = 10.0
SPOKEN = frozenset({ContentType.AUDIO, ContentType.VIDEO})
MOST_SLOTS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What passed, and what did not and why."""

    content_types: tuple[ContentType, ...]
    lacking: Mapping[ContentType, str]
    """Of those asked for, why not; for people."""
    gpus: tuple[str, ...]
    speech_model: str | None

    def capabilities(self) -> JsonObject:
        """As the server is told."""
        formats = [entry.name for entry in FORMATS if entry.content_type in self.content_types]
        return {"formats": [*formats], "speech_model": self.speech_model}

    def hardware(self) -> JsonObject:
        """As the server is told."""
        return {
            "system": platform.system(),
            "machine": platform.machine(),
            "cores": psutil.cpu_count() or 1,
            "memory_bytes": psutil.virtual_memory().total,
            "gpus": [*self.gpus],
        }


async def find_out(wanted: Collection[ContentType], *, is_strict: bool, whisper_model: str) -> Offer:
    """What of `wanted` can be converted here. Raises MoragError `nothing_to_offer`: for any lack if `is_strict`."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def tried(content_type: ContentType) -> str | None:
        async with slots:
            return await _lack(content_type, whisper_model)

    ordered = [each for each in ContentType if each in wanted]
    lacks = dict(zip(ordered, await asyncio.gather(*map(tried, ordered)), strict=True))
    lacking = {content_type: lack for content_type, lack in lacks.items() if lack}
    passed = tuple(content_type for content_type in ordered if content_type not in lacking)
    if not passed or (is_strict and lacking):
        told = "; ".join(f"{content_type}: {lack}" for content_type, lack in lacking.items())
        raise MoragError(f"This machine cannot offer what it should: {told}.", code="nothing_to_offer")
    speech_model = choose(whisper_model).name if SPOKEN & set(passed) else None
    gpus = await asyncio.to_thread(find_gpus)
    return Offer(content_types=passed, lacking=lacking, gpus=gpus, speech_model=speech_model)


def usual_slots(memory_bytes: int) -> int:
    """How many jobs at once suit this machine, if each may take so much memory."""
    by_memory = psutil.virtual_memory().total // memory_bytes
    return max(1, min(psutil.cpu_count() or 1, int(by_memory), MOST_SLOTS))


def find_gpus() -> tuple[str, ...]:
    """The names of the NVIDIA GPUs that answer, or of what else computes like one."""
    program = shutil.which("nvidia-smi")
    if program:
        command = [program, "--query-gpu=name", "--format=csv,noheader"]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=GPU_S, check=True)  # noqa: S603 - found on PATH
        except (OSError, subprocess.SubprocessError):
            return ()
        return tuple(line.strip()[:100] for line in answer.stdout.splitlines() if line.strip())
    return ("AMD",) if Path("/dev/kfd").exists() else ()


async def _lack(content_type: ContentType, whisper_model: str) -> str | None:
    """Why not, if so."""
    if content_type in SPOKEN:
        try:
            choose(whisper_model)
        except ConversionError as error:
            return f"{error.message} {error.hint or ''}".strip()
    return await _tried(content_type)


async def _tried(content_type: ContentType) -> str | None:
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
    environment.pop("MORAG_API_KEY", None)
    trial = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "morag.worker.remote.trial", content_type.value),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        async with asyncio.timeout(TRIAL_S):
            told, errors = await trial.communicate()
    except TimeoutError:
        trial.kill()
        await trial.wait()
        return f"its converters did not load within {TRIAL_S:g} s"
    if trial.returncode == 0:
        return None
    last = (told or errors).decode(errors="replace").strip().splitlines()
    return last[-1][:300] if last else f"its converters crash (exit status {trial.returncode})"
