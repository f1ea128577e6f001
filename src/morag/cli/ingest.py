"""`morag ingest`: hand files, folders and URLs to the server and follow each until it can be found by search.

Several at once, one live line each. What was submitted and has not ended is cancelled by Ctrl-C.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import typer

from morag.cli.client import Client, client_of
from morag.cli.following import Ended, follow
from morag.cli.inputs import Input, Skipped, gathered, metadata_of, options_of
from morag.cli.output import answer_json, failure_json, say, shown
from morag.cli.progress import Board, Line, board
from morag.domain.errors import MoragError
from morag.domain.json import JsonObject
from morag.settings import load

AT_ONCE = 8
"""Inputs uploaded or followed at the same time; the server queues what it cannot run yet."""
_FAREWELL_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How every input of one command is to be ingested."""

    document_id: str | None
    replace: bool
    metadata: JsonObject
    options: JsonObject
    content_type: str | None
    gpu: bool
    remote: bool
    no_wait: bool

    def form(self) -> dict[str, str]:
        """As fields of a form."""
        fields = {
            "document_id": self.document_id,
            "source_type": self.content_type,
            "metadata": json.dumps(self.metadata) if self.metadata else None,
            "options": json.dumps(self.options) if self.options else None,
            **dict.fromkeys(self._flags(), "true"),
        }
        return {name: value for name, value in fields.items() if value is not None}

    def body(self, url: str) -> JsonObject:
        """As the JSON of a request for a URL."""
        body: JsonObject = {"url": url, **self.form()}
        objects: JsonObject = {"metadata": self.metadata, "options": self.options}
        body.update({name: value for name, value in objects.items() if value})
        return {**body, **dict.fromkeys(self._flags(), True)}

    def _flags(self) -> list[str]:
        flags = {"replace_existing": self.replace, "gpu": self.gpu, "remote": self.remote}
        return [name for name, is_set in flags.items() if is_set]


@dataclass(slots=True, kw_only=True)
class Report:
    """What became of one input."""

    input: Input
    task_id: str | None = None
    ended: Ended | None = None
    error: MoragError | None = None

    @property
    def is_open(self) -> bool:
        """Whether the server may still be at it."""
        return self.task_id is not None and self.ended is None

    @property
    def is_failed(self) -> bool:
        """Whether it did not come to a good end."""
        return self.error is not None

    def as_json(self) -> JsonObject:
        """For programs."""
        return {
            "input": self.input.name,
            "task_id": self.task_id,
            "status": self.ended.status if self.ended else "failed" if self.error else "submitted",
            "result": self.ended.result if self.ended else None,
            "error": failure_json(self.error) if self.error else None,
        }


@dataclass(slots=True, kw_only=True)
class _Round:
    """One run of the command."""

    client: Client
    wish: Wish
    lines: Board
    reports: list[Report] = field(default_factory=list[Report])
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def run(self, inputs: Sequence[Input]) -> None:
        self.reports = [Report(input=given) for given in inputs]
        async with asyncio.TaskGroup() as group:
            for report in self.reports:
                group.create_task(self._ingest(report))

    async def _ingest(self, report: Report) -> None:
        async with self.slots:
            line = self.lines.line(report.input.name)
            try:
                report.task_id = await self._submit(report.input)
                await self._see_through(report, line)
            except MoragError as error:
                report.error = error
                line.failed(_told(error))

    async def _see_through(self, report: Report, line: Line) -> None:
        if self.wish.no_wait:
            line.done(f"submitted as task {report.task_id}")
            return
        report.ended = await follow(self.client, str(report.task_id), line)
        if report.ended.error:
            raise report.ended.error
        line.done(_summary(report.ended.result))

    async def _submit(self, given: Input) -> str:
        key = str(uuid4())
        if given.path is None:
            answer = await self.client.post("/api/v1/ingest/url", self.wish.body(str(given.url)), key=key)
            return str(answer["task_id"])
        try:
            file = given.path.open("rb")
        except OSError as error:
            raise MoragError(f"{given.name} cannot be read: {error.strerror}.", code="cannot_read") from None
        with file:
            path = "/api/v1/ingest/file"
            answer = await self.client.upload(path, self.wish.form(), given.filename, file, key=key)
        return str(answer["task_id"])

    async def give_up(self) -> None:
        """Cancel what is open at the server, and say what goes on all the same."""
        still_open = [report for report in self.reports if report.is_open]
        if self.wish.no_wait:
            say(f"Interrupted: {len(still_open)} submitted go on; `morag status` lists them.")
            return
        answers = await asyncio.gather(*[self._cancel(str(report.task_id)) for report in still_open])
        left = [report for report, is_cancelled in zip(still_open, answers, strict=True) if not is_cancelled]
        say(f"Interrupted: {len(still_open) - len(left)} cancelled, {self._stored()} stored before.")
        for report in left:
            say(f"{shown(report.input.name)} goes on: `morag status {report.task_id}`")

    async def _cancel(self, task_id: str) -> bool:
        try:
            async with asyncio.timeout(_FAREWELL_S):
                answer = await self.client.post(f"/api/tasks/{task_id}/cancel")
        except (MoragError, TimeoutError):
            return False
        return answer.get("status") == "cancelled"

    def _stored(self) -> int:
        return sum(report.ended is not None and not report.is_failed for report in self.reports)


def run(words: Sequence[str], wish: Wish, *, as_json: bool) -> int:
    """Ingest all that the words name; the exit status."""
    inputs, skipped = gathered(words)
    if wish.document_id and len(inputs) != 1:
        raise typer.BadParameter("One document id is for one input.", param_hint="--document-id")
    return asyncio.run(_run(inputs, skipped, wish, as_json=as_json))


def wish_of(
    *,
    document_id: str | None,
    replace: bool,
    metadata: Sequence[str],
    options: Sequence[str],
    content_type: str | None,
    gpu: bool,
    remote: bool,
    no_wait: bool,
) -> Wish:
    """The wish from words of the command line. Raises BadParameter."""
    return Wish(
        document_id=document_id,
        replace=replace,
        metadata=metadata_of(metadata),
        options=options_of(options),
        content_type=content_type,
        gpu=gpu,
        remote=remote,
        no_wait=no_wait,
    )


async def _run(inputs: list[Input], skipped: list[Skipped], wish: Wish, *, as_json: bool) -> int:
    async with client_of(load()) as client:
        await client.get("/health/live")
        with board() as lines:
            work = _Round(client=client, wish=wish, lines=lines)
            try:
                await work.run(inputs)
            except asyncio.CancelledError:
                await work.give_up()
                raise
    _tell(work.reports, skipped, as_json=as_json)
    return 1 if any(report.is_failed for report in work.reports) else 0


def _tell(reports: list[Report], skipped: list[Skipped], *, as_json: bool) -> None:
    if as_json:
        left_out: list[JsonObject] = [{"input": skip.name, "reason": skip.reason} for skip in skipped]
        answer_json({"inputs": [report.as_json() for report in reports], "skipped": [*left_out]})
        return
    for skip in skipped:
        say(f"skipped {shown(skip.name)}: {shown(skip.reason)}")
    failed = sum(report.is_failed for report in reports)
    say(f"{len(reports) - failed} of {len(reports)} done, {failed} failed, {len(skipped)} skipped.")


def _told(error: MoragError) -> str:
    return f"{error.message} ({error.code})" + (f" {error.hint}" if error.hint else "")


def _summary(result: JsonObject) -> str:
    if result.get("duplicate_of"):
        return f"stored before as {result['duplicate_of']}"
    seconds = result.get("processing_time")
    took = f" in {seconds:.1f} s" if isinstance(seconds, int | float) else ""
    where = f" on {result.get('worker')}" if result.get("processing_method") == "remote" else ""
    chunks = result.get("chunks_stored")
    return f"{chunks} {'chunk' if chunks == 1 else 'chunks'}{took}{where}, document {result.get('document_id')}"
