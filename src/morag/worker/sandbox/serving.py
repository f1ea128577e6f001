"""What a conversion child does once it is bound: job after job, each answered by one last line."""

import importlib
import os
import queue
import resource
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from morag.domain.content import Document
from morag.domain.errors import ConversionError
from morag.pipeline.ports import ConversionInput, Detected, ReportProgress
from morag.protocol import ChildDone, ChildFailed, ChildJob, ChildProgress, encode_document
from morag.worker.sandbox.verdict import OUT_OF_MEMORY

Convert = Callable[[ConversionInput, ReportProgress], Document]

REPORT_EVERY_S = 0.05
CPU_S = 21_600 * (os.cpu_count() or 1)
"""All cores for the longest task (MORAG_TASK_DEADLINE_S): stops only a child that its parent could not take along."""


def serve(jobs: "queue.SimpleQueue[bytes]", answers: BinaryIO, *, converter: str, preload: Sequence[str]) -> None:
    """Answer jobs as they come, without end."""
    convert = _find(converter)
    for module in preload:
        importlib.import_module(module)
    while True:
        job = ChildJob.model_validate_json(jobs.get())
        _grant_cpu()
        answer = _answer(convert, job, _Reporter(answers))
        _send(answers, answer)


def _find(converter: str) -> Convert:
    module, _, name = converter.partition(":")
    return cast("Convert", getattr(importlib.import_module(module), name))


def _answer(convert: Convert, job: ChildJob, report: ReportProgress) -> ChildDone | ChildFailed:
    try:
        document = convert(_given(job), report)
        Path(job.work_dir, "document.json").write_bytes(encode_document(document))
    except ConversionError as error:
        return _failed(error.code, error.message, hint=error.hint, is_final=True, signature=error.code)
    except MemoryError as error:
        return _failed(OUT_OF_MEMORY, "The conversion ran out of memory.", signature=signature(error))
    except Exception as error:  # noqa: BLE001 - a converter may raise anything; here an attempt becomes an outcome
        traceback.print_exc(file=sys.stderr)
        message = f"The converter failed in a way it should not ({type(error).__name__})."
        return _failed("converter_error", message, signature=signature(error))
    return ChildDone()


def signature(error: BaseException) -> str:
    """Equal for equal errors: the exception's type and the innermost function that is not the standard library's."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = [(str(frame.f_globals.get("__name__", "?")), frame.f_code.co_name) for frame in frames]
    theirs = [name for name in names if name[0].partition(".")[0] not in sys.stdlib_module_names]
    module, function = (theirs or names or [("?", "?")])[-1]
    return f"{type(error).__name__} in {module}.{function}"[:200]


def _failed(code: str, message: str, *, signature: str, hint: str | None = None, is_final: bool = False) -> ChildFailed:
    return ChildFailed(
        code=code[:100],
        message=message[:2000],
        hint=hint[:2000] if hint else None,
        is_final=is_final,
        signature=signature[:200],
    )


def _given(job: ChildJob) -> ConversionInput:
    return ConversionInput(
        path=Path(job.source_path) if job.source_path else None,
        filename=job.filename,
        detected=Detected(content_type=job.content_type, media_type=job.media_type),
        url=job.url,
        options=job.options,
        work_dir=Path(job.work_dir),
        speech_model=job.speech_model,
    )


def _grant_cpu() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    granted = int(used.ru_utime + used.ru_stime) + CPU_S
    resource.setrlimit(resource.RLIMIT_CPU, (granted if hard == resource.RLIM_INFINITY else min(granted, hard), hard))


def _send(answers: BinaryIO, message: ChildProgress | ChildDone | ChildFailed) -> None:
    answers.write(message.model_dump_json().encode() + b"\n")


class _Reporter:
    """Progress as lines, at most one each 50 ms: a converter may call it for each word."""

    def __init__(self, answers: BinaryIO) -> None:
        self._answers = answers
        self._next_at = 0.0

    def __call__(self, fraction: float, stage: str, message: str) -> None:
        now = time.monotonic()
        if now < self._next_at:
            return
        self._next_at = now + REPORT_EVERY_S
        fraction = min(max(fraction, 0.0), 1.0)
        _send(self._answers, ChildProgress(fraction=fraction, stage=stage[:100], message=message[:500]))
