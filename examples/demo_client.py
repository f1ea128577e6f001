"""How `make demo` talks to the server: by the documented routes, as any program would."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import httpx2

Report = Callable[[float, str], None]
"""Called with (fraction 0 to 1, what is being done)."""

CONVERTED = 0.8
"""Where a line stands when the conversion is done; indexing takes it from there."""


class Morag:
    """A server, over HTTP."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def ingest_file(self, path: Path) -> str:
        """Hand in a file; the id of the task."""
        with path.open("rb") as file:
            answer = await self._http.post("/api/v1/ingest/file", files={"file": (path.name, file)})
        return str(_read(answer)["task_id"])

    async def ingest_url(self, url: str) -> str:
        """Hand in a URL; the id of the task."""
        return str(_read(await self._http.post("/api/v1/ingest/url", json={"url": url}))["task_id"])

    async def follow(self, task_id: str, report: Report) -> dict[str, Any]:
        """Report the task's progress from its event stream until it ends; its result. Raises RuntimeError.

        While it waits for the conversion it asked for, that one is followed.
        """
        done = 0.0
        async for data in self._events(task_id):
            _tell(data, report, done, 1.0)
            if data.get("state") == "waiting":
                conversion = _read(await self._http.get(f"/api/v1/status/{task_id}"))["remote_job_id"]
                async for inner in self._events(str(conversion)):
                    _tell(inner, report, 0.0, CONVERTED)
                done = CONVERTED
        status: dict[str, Any] = _read(await self._http.get(f"/api/v1/status/{task_id}"))
        if status["status"] != "completed":
            error = status["error"] or {"message": f"The task is {status['status']}."}
            raise RuntimeError(error["message"])
        return cast("dict[str, Any]", status["result"])

    async def _events(self, task_id: str) -> AsyncIterator[dict[str, Any]]:
        async with self._http.sse(f"/api/v1/status/{task_id}/events") as events:
            async for event in events:
                if event.data:
                    yield json.loads(event.data)["data"]

    async def markdown(self, document_id: str) -> str:
        """The Markdown of a stored document."""
        answer = await self._http.get(f"/api/v1/documents/{document_id}/markdown")
        answer.raise_for_status()
        return answer.text

    async def search(self, question: str, *, limit: int) -> list[dict[str, Any]]:
        """The best hits."""
        answer = await self._http.post("/api/v1/search", json={"query": question, "limit": limit})
        return cast("list[dict[str, Any]]", _read(answer)["hits"])


def _tell(data: dict[str, Any], report: Report, start: float, end: float) -> None:
    """Report progress as a stretch of the whole."""
    if "fraction" in data:
        report(start + (end - start) * float(data["fraction"]), str(data.get("message") or data.get("stage") or ""))


def _read(answer: httpx2.Response) -> dict[str, Any]:
    body = cast("dict[str, Any]", answer.json())
    if answer.is_error:
        raise RuntimeError(f"{body.get('detail')} {body.get('hint') or ''}".strip())
    return body
