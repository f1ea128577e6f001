"""Conversions in child processes: `Sandbox.convert` is what the runner calls for heavy or hostile input.

A job is given a child of the pool, its input is placed where only that child reads it, the child is watched, and its
document is checked before anyone believes it. Whatever goes wrong is one classified AttemptFailed of that job.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from morag.domain.content import Document
from morag.domain.errors import ConversionError
from morag.domain.failure import AttemptFailed
from morag.domain.json import JsonObject
from morag.pipeline.ports import Detected, ReportProgress
from morag.protocol import ChildJob, decode_document
from morag.worker.sandbox import confinement, verdict
from morag.worker.sandbox.confinement import Bounds, Layers
from morag.worker.sandbox.folders import ChildFolder, WorkRoot
from morag.worker.sandbox.pool import Owner, Pool, Waiting
from morag.worker.sandbox.probe import probe
from morag.worker.sandbox.process import ChildProcess
from morag.worker.sandbox.watch import Limits, Watch

CONVERTER = "morag.pipeline.conversion.registry:convert"
IDLE_S = 60.0
DISK_BYTES = 16 * 1024**3
"""What a child may write: an hour of video as raw 16 kHz sound is 0.1 GiB, its frames less than ten."""
INHERITED = ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "NVIDIA_VISIBLE_DEVICES", "PATH", "TZ")

PYTHON_FLAGS = ("-s", "-P", "-B", "-X", "faulthandler")
"""No user's packages, nothing imported from where it stands, no bytecode written, a trace logged when it crashes."""
FIXED = {
    "LANG": "C.UTF-8",
    "USER": "morag",
    "LOGNAME": "morag",
    "PYTHONUTF8": "1",
    "HF_HUB_OFFLINE": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_OFFLINE": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionJob:
    """One conversion, and what it may use."""

    user_id: str
    source: Path | None
    """The file; None only for `youtube`."""
    filename: str
    detected: Detected
    url: str | None
    options: JsonObject
    timeout_s: float
    """Longest running time."""
    stall_s: float
    """Longest time without progress."""
    network: bool = False
    """Whether it may open connections: `youtube` only."""


class Sandbox:
    """Runs conversions in children that can be killed, see one input, and serve one user each."""

    def __init__(
        self,
        *,
        root: Path,
        memory_bytes: int,
        disk_bytes: int = DISK_BYTES,
        spares: int = 1,
        warm: int = 1,
        idle_s: float = IDLE_S,
        threads: int | None = None,
        converter: str = CONVERTER,
        preload: Sequence[str] = (),
        read_only: Sequence[Path] = (),
        import_paths: Sequence[Path] = (),
        environment: Mapping[str, str] | None = None,
        speech_model: str = "auto",
    ) -> None:
        self._root = root
        self._memory_bytes = memory_bytes
        self._disk_bytes = disk_bytes
        self._program = (converter, *preload)
        self._readable = (*confinement.readable(), *(str(path.resolve()) for path in (*read_only, *import_paths)))
        self._environment = _environment(import_paths, threads, environment or {})
        waiting = Waiting(spares=spares, warm=warm, warm_bytes=memory_bytes // 2, idle_s=idle_s)
        self._pool = Pool(self._start_child, waiting)
        self._folders: WorkRoot | None = None
        self._speech_model = speech_model
        self._layers = Layers(landlock=0, seccomp=False, namespaces=False)

    async def start(self) -> None:
        """Clear up after servers that died, find out what this machine can enforce, and start the spares."""
        self._folders = await asyncio.to_thread(WorkRoot, self._root)
        self._layers = await asyncio.to_thread(probe)
        self._pool.fill()

    async def close(self) -> None:
        """End all children and delete their folders."""
        await self._pool.close()
        if self._folders is not None:
            await asyncio.to_thread(self._folders.close)

    async def convert(self, job: ConversionJob, report: ReportProgress) -> Document:
        """The document. Raises AttemptFailed for whatever goes wrong with the input, the converter or its child.

        Cancelling it kills the child, with all the child started.
        """
        owner = Owner(job.user_id, job.detected.content_type, job.network)
        child = await self._take(owner)
        is_healthy = False
        try:
            document = await self._run(child, job, report)
            is_healthy = True
        except AttemptFailed as failed:
            is_healthy = failed.failure.is_final  # the input's fault, not the child's
            raise
        finally:
            await (self._pool.keep(child, owner) if is_healthy else self._pool.end(child))
        return document

    async def _take(self, owner: Owner) -> ChildProcess:
        try:
            return await self._pool.take(owner)
        except OSError as error:
            raise AttemptFailed(verdict.not_started(error)) from error

    async def _run(self, child: ChildProcess, job: ConversionJob, report: ReportProgress) -> Document:
        try:
            source = await asyncio.to_thread(self._place, child.folder, job)
        except OSError as error:
            raise AttemptFailed(verdict.not_started(error)) from error
        limits = Limits(
            memory_bytes=self._memory_bytes,
            disk_bytes=self._disk_bytes,
            timeout_s=job.timeout_s,
            stall_s=job.stall_s,
        )
        watch = Watch(child, limits, report)
        child.tell(_told(job, source, child.folder, self._speech_model))
        await watch.done()
        return await asyncio.to_thread(_believed, child.folder)

    def _place(self, folder: ChildFolder, job: ConversionJob) -> Path | None:
        link = self._layers.input_is_safe
        return folder.place(job.source, job.filename, link=link) if job.source is not None else None

    async def _start_child(self, network: bool) -> ChildProcess:  # noqa: FBT001 - the pool's callback
        if self._folders is None:
            raise RuntimeError("start() comes first")
        folder = await asyncio.to_thread(self._folders.folder)
        bounds = Bounds(
            parent_pid=os.getpid(),
            inbox=str(folder.inbox),
            work=str(folder.work),
            read_only=self._readable,
            network=network,
            required=self._layers,
            file_bytes=self._disk_bytes,
        )
        command = [sys.executable, *PYTHON_FLAGS, "-m", "morag.worker.sandbox.child", bounds.encode(), *self._program]
        home = {"HOME": str(folder.temporary), "TMPDIR": str(folder.temporary)}
        return await ChildProcess.start(command, self._environment | home, folder)


def _environment(import_paths: Sequence[Path], threads: int | None, extra: Mapping[str, str]) -> dict[str, str]:
    """All a child knows of the server's environment: no keys, no addresses."""
    many = str(threads or min(4, os.cpu_count() or 1))
    return {
        **{name: os.environ[name] for name in INHERITED if name in os.environ},
        **FIXED,
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), many),
        **({"PYTHONPATH": os.pathsep.join(map(str, import_paths))} if import_paths else {}),
        **extra,
    }


def _told(job: ConversionJob, source: Path | None, folder: ChildFolder, speech_model: str) -> ChildJob:
    return ChildJob(
        source_path=str(source) if source else None,
        work_dir=str(folder.job),
        filename=job.filename,
        content_type=job.detected.content_type,
        media_type=job.detected.media_type,
        url=job.url,
        options=job.options,
        speech_model=speech_model,
    )


def _believed(folder: ChildFolder) -> Document:
    try:
        return decode_document(folder.result())
    except OSError:
        raise AttemptFailed(verdict.bad_result("The converter said it was done and left no document.")) from None
    except ConversionError as error:
        raise AttemptFailed(verdict.bad_result(error.message)) from None
