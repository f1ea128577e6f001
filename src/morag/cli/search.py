"""`morag search`: the passages that answer a question, with where they stand."""

import asyncio
import shutil
import textwrap
from collections.abc import Sequence

from morag.cli.client import client_of
from morag.cli.inputs import metadata_of
from morag.cli.output import answer, answer_json, say, shown
from morag.cli.places import place_of
from morag.domain.json import JsonObject
from morag.settings import load

_LINES = 4
"""Of a hit's text, on a screen."""
_WIDEST = 100


def run(query: str, *, limit: int, mode: str, document_id: str | None, metadata: Sequence[str], as_json: bool) -> int:
    """Ask and tell; the exit status: 0 also when nothing was found."""
    filters: JsonObject = {f"metadata.{name}": value for name, value in metadata_of(metadata).items()}
    if document_id:
        filters["document_id"] = document_id
    body: JsonObject = {"query": query, "limit": limit, "mode": mode, "filters": filters}
    found = asyncio.run(_ask(body))
    if as_json:
        answer_json(found)
    else:
        _tell(found)
    return 0


async def _ask(body: JsonObject) -> JsonObject:
    async with client_of(load()) as client:
        return await client.post("/api/v1/search", body)


def _tell(found: JsonObject) -> None:
    hits = found.get("hits")
    told = [hit for hit in hits if isinstance(hit, dict)] if isinstance(hits, list) else []
    for n, hit in enumerate(told, start=1):
        answer("\n".join(lines_of(n, hit)))
    if not told:
        say("Nothing was found.")


def lines_of(n: int, hit: JsonObject) -> list[str]:
    """A hit as a person reads it: number, source, place and score; some of its text; its document."""
    source, title = str(hit.get("source") or hit.get("document_id")), str(hit.get("title") or "")
    named = source if title in {"", source} else f"{source} ({title})"
    head = " · ".join(part for part in (named, place_of(hit)) if part)
    score = hit.get("score")
    told = f"{score:.3f}" if isinstance(score, int | float) else ""
    width = min(shutil.get_terminal_size((_WIDEST, 24)).columns, _WIDEST)
    text = textwrap.wrap(
        shown(str(hit.get("text"))), width - 4, max_lines=_LINES, placeholder=" …", break_on_hyphens=False
    )
    tail = f"document {hit.get('document_id')}, score {told}"
    return [f"{n}. {shown(head)}", *[f"    {line}" for line in text], f"    {shown(tail)}", ""]
