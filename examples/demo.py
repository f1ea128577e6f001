"""`make demo`: the main job on real files, from nothing to answers, through the product's public doors alone.

Starts a server on a temporary folder and a web server beside it, ingests one file of every kind, shows the Markdown,
asks five questions and shows where the answers stand. Takes everything down again, also on Ctrl-C.
"""

import asyncio
import signal
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from types import FrameType

import httpx2
from demo_client import Morag
from demo_screen import Lines, Screen
from demo_server import NotStarted, morag, pages
from world import QUESTIONS, Question

SAMPLES = Path(__file__).parent / "samples"
KINDS = {
    "report.pdf": "PDF with headings and tables",
    "letter.docx": "Word",
    "slides.pptx": "PowerPoint with notes",
    "budget.xlsx": "Excel",
    "page.html": "web page, fetched from a web server",
    "message.eml": "e-mail",
    "people.csv": "CSV",
    "scan.png": "scanned page",
    "speech.mp3": "speech",
    "clip.mp4": "video with speech and on-screen text",
}
MARKDOWN_LINES = 12
TOP = 3
"""The file that answers a question must be among so many hits."""
INTERRUPTED = 130
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GO_ON = """
  source .venv/bin/activate        so that the shell knows morag
  morag serve                      your own server, on http://127.0.0.1:8000
  morag ingest ~/Documents         make all in a folder searchable
  morag search "your question"     find it, with page, sheet or second
  morag process FILE               Markdown of one file, without a server
  morag doctor                     what can be converted here
"""


def main() -> int:
    """Run the demo; the exit status: 0 if every question found its file."""
    screen, began = Screen(), perf_counter()
    for number in ENDING[1:]:
        signal.signal(number, _interrupt)
    try:
        with _everything(screen) as (url, page_url):
            screen.say(f"MoRAG runs at {url}, started in {perf_counter() - began:.1f} s.")
            is_good = asyncio.run(_tour(screen, url, page_url))
    except (KeyboardInterrupt, asyncio.CancelledError):
        screen.say("\nInterrupted. The servers are stopped and the temporary folder is gone.")
        return INTERRUPTED
    except (NotStarted, RuntimeError, httpx2.HTTPError) as error:
        screen.say(f"The demo cannot go on: {error or type(error).__name__}", style="red")
        return 1
    screen.heading(f"All of it took {perf_counter() - began:.1f} s. Nothing is left running. To go on:")
    screen.say(GO_ON.rstrip())
    return 0 if is_good else 1


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """End as on Ctrl-C."""
    raise KeyboardInterrupt


def _cancel_on_signals() -> None:
    """While the event loop runs, end it in its own way, however often one presses Ctrl-C."""
    tour = asyncio.current_task()
    if tour is None:
        raise RuntimeError("only inside a task")
    for number in ENDING:
        asyncio.get_running_loop().add_signal_handler(number, tour.cancel)


@contextmanager
def _everything(screen: Screen) -> Generator[tuple[str, str]]:
    """A temporary folder, a web server with the sample page, and MoRAG: their URLs. All gone at the end."""
    with (
        tempfile.TemporaryDirectory(prefix="morag-demo-", ignore_cleanup_errors=True) as folder,
        pages(SAMPLES) as near,
    ):
        screen.say("Starting MoRAG with an empty data folder…")
        with morag(Path(folder), fetch_allow=near) as url:
            try:
                yield url, f"http://{near}/page.html"
            finally:
                # from here on everything is being taken down: a second Ctrl-C must not cut that short
                for number in ENDING:
                    signal.signal(number, signal.SIG_IGN)


async def _tour(screen: Screen, url: str, page_url: str) -> bool:
    _cancel_on_signals()
    timeout = httpx2.Timeout(30.0, read=120.0)
    async with httpx2.AsyncClient(base_url=url, timeout=timeout, trust_env=False) as http:
        server = Morag(http)
        documents = await _ingest_all(screen, server, page_url)
        await _show_markdown(screen, server, documents)
        found = [await _ask(screen, server, question) for question in QUESTIONS]
    screen.heading(f"{sum(found)} of {len(found)} questions found the file that answers them.")
    return all(found) and len(documents) == len(KINDS)


async def _ingest_all(screen: Screen, server: Morag, page_url: str) -> dict[str, str]:
    """Ingest every sample at once; the document id of each that succeeded, by file name."""
    screen.heading(f"Ingesting {len(KINDS)} files, one of every kind:")
    began = perf_counter()
    with screen.lines() as lines:
        ids = await asyncio.gather(*[_ingest(lines, server, name, page_url) for name in KINDS])
    screen.say(f"  {sum(map(bool, ids))} of {len(ids)} searchable after {perf_counter() - began:.1f} s")
    return {name: document_id for name, document_id in zip(KINDS, ids, strict=True) if document_id}


async def _ingest(lines: Lines, server: Morag, name: str, page_url: str) -> str | None:
    began = perf_counter()
    lines.at(name, 0.0, "waiting")
    try:
        task_id = await (server.ingest_url(page_url) if name == "page.html" else server.ingest_file(SAMPLES / name))
        result = await server.follow(task_id, lambda fraction, doing: lines.at(name, fraction, doing))
    except (RuntimeError, httpx2.HTTPError) as error:
        lines.end(name, str(error) or type(error).__name__, is_good=False)
        return None
    chunks = result["chunks_stored"]
    told = f"searchable in {chunks} piece{'' if chunks == 1 else 's'} after {perf_counter() - began:.1f} s"
    lines.end(name, told, is_good=True)
    return str(result["document_id"])


async def _show_markdown(screen: Screen, server: Morag, documents: dict[str, str]) -> None:
    screen.heading(f"What became of them, the first {MARKDOWN_LINES} lines of each:")
    for name, document_id in documents.items():
        screen.markdown(name, KINDS[name], await server.markdown(document_id), MARKDOWN_LINES)


async def _ask(screen: Screen, server: Morag, question: Question) -> bool:
    """Ask, show the hits; whether the file that answers is among them."""
    hits = await server.search(question.text, limit=TOP)
    screen.hits(question, hits)
    is_found = any(str(hit["source"]).rpartition("/")[2] == question.file for hit in hits)
    if not is_found:
        screen.say(f"  ✗ the answer stands in {question.file}, which is not among them", style="red")
    return is_found


if __name__ == "__main__":
    sys.exit(main())
