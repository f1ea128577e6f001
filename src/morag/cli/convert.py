"""`morag process`: Markdown from files and URLs on this machine alone, without a server; nothing is kept.

input ─▶ (a URL: the guarded fetcher) ─▶ detect ─▶ conversion child ─▶ Markdown on standard output, or in a file
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from morag.bootstrap.standalone import Standalone, standalone
from morag.cli.inputs import Input, named, options_of
from morag.cli.logs import settings_with_quiet_log
from morag.cli.output import answer, answer_json, failure_json, say
from morag.cli.progress import Board, Line, board
from morag.cli.targets import targets
from morag.domain.content import ContentType, Document
from morag.domain.errors import MoragError
from morag.domain.failure import AttemptFailed
from morag.domain.identity import ANONYMOUS
from morag.domain.json import JsonObject
from morag.pipeline.conversion.detect import check_source_type, detect
from morag.pipeline.conversion.registry import validate_options
from morag.pipeline.ports import Detected
from morag.protocol import SegmentMessage
from morag.settings import Settings
from morag.worker.sandbox.configured import STALL_S, sandbox_for
from morag.worker.sandbox.sandbox import ConversionJob, Sandbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What became of one input."""

    input: Input
    target: Path | None
    """The file it was to be written to."""
    document: Document | None = None
    error: MoragError | None = None
    seconds: float = 0.0

    def as_json(self) -> JsonObject:
        """For programs; the Markdown is left out where it went to a file."""
        if self.error or not self.document:
            error = failure_json(self.error) if self.error else None
            return {"input": self.input.name, "success": False, "error": error}
        document = self.document
        return {
            "input": self.input.name,
            "success": True,
            "output": str(self.target) if self.target else None,
            "content": None if self.target else document.markdown,
            "content_type": document.content_type.value,
            "media_type": document.media_type,
            "title": document.title,
            "metadata": document.metadata,
            "segments": [SegmentMessage.of(segment).model_dump(exclude_defaults=True) for segment in document.segments],
            "processing_time": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Workshop:
    """What conversions of one command share."""

    settings: Settings
    base: Standalone
    sandbox: Sandbox
    slots: asyncio.Semaphore
    content_type: ContentType | None
    options: JsonObject

    async def make(self, given: Input, target: Path | None, lines: Board) -> Made:
        async with self.slots:
            line, began = lines.line(given.name), perf_counter()
            try:
                document = await self._convert(given, line)
                if target:
                    await asyncio.to_thread(_write, target, document.markdown)
            except (MoragError, AttemptFailed) as raised:
                error = _plain(raised)
                line.failed(f"{error.message} ({error.code})" + (f" {error.hint}" if error.hint else ""))
                return Made(input=given, target=target, error=error)
            seconds = perf_counter() - began
            line.done(f"{len(document.markdown):,} characters in {seconds:.1f} s" + (f" → {target}" if target else ""))
            return Made(input=given, target=target, document=document, seconds=seconds)

    async def _convert(self, given: Input, line: Line) -> Document:
        job = await self._job(given, line)
        validate_options(job.detected.content_type, self.options)
        return await self.sandbox.convert(job, line.at)

    async def _job(self, given: Input, line: Line) -> ConversionJob:
        wanted = self.content_type or (ContentType.YOUTUBE if given.is_youtube else None)
        if given.url and wanted is ContentType.YOUTUBE:
            detected = Detected(content_type=ContentType.YOUTUBE, media_type="video/x-youtube")
            return self._ordered(None, "", detected, given.url)
        if given.path:
            sha256, _ = await self.base.blobs.put_file(given.path.resolve())
            return await self._local(self.base.blobs.path(sha256), given.filename, None, None)
        fetched = await self.base.fetcher.fetch(str(given.url), line.at)
        path = self.base.blobs.path(fetched.sha256)
        return await self._local(path, fetched.filename, fetched.media_type, fetched.url)

    async def _local(self, path: Path, filename: str, media_type: str | None, url: str | None) -> ConversionJob:
        detected = await asyncio.to_thread(detect, path, filename=filename, media_type=media_type)
        if self.content_type:
            detected = check_source_type(detected, self.content_type)
        return self._ordered(path, filename, detected, url)

    def _ordered(self, path: Path | None, filename: str, detected: Detected, url: str | None) -> ConversionJob:
        return ConversionJob(
            user_id=ANONYMOUS,
            source=path,
            filename=filename,
            detected=detected,
            url=url,
            options=self.options,
            timeout_s=self.settings.timeout_s(detected.content_type),
            stall_s=STALL_S,
            network=detected.content_type is ContentType.YOUTUBE,
        )


def run(
    words: Sequence[str],
    *,
    folder: Path | None,
    content_type: str | None,
    options: Sequence[str],
    overwrite: bool,
    as_json: bool,
) -> int:
    """Convert all that the words name; the exit status. Raises BadParameter, MoragError."""
    inputs = named(words)
    places = targets(inputs, folder, overwrite=overwrite) if folder else [None] * len(inputs)
    wanted = ContentType(content_type) if content_type else None
    made = asyncio.run(_run(list(zip(inputs, places, strict=True)), wanted, options_of(options)))
    _tell(made, as_json=as_json)
    return 1 if any(one.error for one in made) else 0


async def _run(
    orders: list[tuple[Input, Path | None]], content_type: ContentType | None, options: JsonObject
) -> list[Made]:
    async with _workshop(content_type, options) as workshop:
        with board() as lines:
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(workshop.make(given, place, lines)) for given, place in orders]
    return [task.result() for task in running]


@asynccontextmanager
async def _workshop(content_type: ContentType | None, options: JsonObject) -> AsyncGenerator[_Workshop]:
    settings = settings_with_quiet_log()
    async with standalone(settings) as base:
        sandbox = sandbox_for(settings, base.folder / "work")
        await sandbox.start()
        try:
            yield _Workshop(
                settings=settings,
                base=base,
                sandbox=sandbox,
                slots=asyncio.Semaphore(max(1, settings.workers)),
                content_type=content_type,
                options=options,
            )
        finally:
            await sandbox.close()


def _write(target: Path, markdown: str) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(markdown if markdown.endswith("\n") else f"{markdown}\n", encoding="utf-8")
    except OSError as error:
        raise MoragError(f"{target} cannot be written: {error.strerror}.", code="cannot_write") from None


def _plain(error: MoragError | AttemptFailed) -> MoragError:
    if isinstance(error, MoragError):
        return error
    failure = error.failure
    return MoragError(failure.message, code=failure.code, hint=failure.hint)


def _tell(made: list[Made], *, as_json: bool) -> None:
    if as_json:
        answer_json({"results": [one.as_json() for one in made]})
        return
    shown_here = [one for one in made if one.document and not one.target]
    for one in shown_here:
        if len(made) > 1:
            answer(f"<!-- {one.input.name.replace('--', '- -')} -->")
        answer(one.document.markdown.rstrip("\n") if one.document else "")
        if one is not shown_here[-1]:
            answer()
    failed = sum(one.error is not None for one in made)
    if len(made) > 1:
        say(f"{len(made) - failed} of {len(made)} done, {failed} failed.")
