"""Speaking practice: say a sentence, see which of its words were heard. An application on MoRAG's task library.

    python examples/speaking_practice/app.py [PORT]        or        uvicorn app:app

Read `speaking_tasks.py` first: what is done. Here is how it is asked for.
"""

import asyncio
import base64
import hmac
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from conversation import MOST_BYTES, TOO_LARGE, converse, named
from fastapi import (
    BackgroundTasks,
    Cookie,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Query,
    Request,
    Response,
    WebSocket,
)
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from speaking_tasks import SESSION_S, store, tasks, views

PAGE = Path(__file__).parent / "page"
PORT = 8010
LOOPBACK = {"127.0.0.1", "::1"}
POLICY = "default-src 'self'; media-src 'self' blob:; frame-ancestors 'none'"

Session = Annotated[str | None, Cookie(alias="session")]


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
    """The database first, then the tasks: those that a killed process left start at once."""
    store.prepare()
    async with tasks:
        yield


def maintainer(request: Request, x_admin_token: Annotated[str, Header()] = "") -> None:
    """Who may call /api/tasks: a status, whoever knows the task's id; the rest, whoever has the token.

    Without SPEAKING_ADMIN_TOKEN that is this machine; but no page of another site in its browser, which would say so.
    """
    if request.method == "GET":
        return
    token = os.environ.get("SPEAKING_ADMIN_TOKEN")
    if token and not hmac.compare_digest(x_admin_token.encode(), token.encode()):
        raise HTTPException(401, "Send the header X-Admin-Token with the value of SPEAKING_ADMIN_TOKEN.")
    host = request.client.host if request.client else None
    if not token and (host not in LOOPBACK or "origin" in request.headers):
        raise HTTPException(403, "Only from this machine, or with SPEAKING_ADMIN_TOKEN set.")


app = FastAPI(title="Speaking practice", lifespan=lifespan, docs_url=None, redoc_url=None)  # theirs come from a CDN
app.include_router(tasks.router(dependencies=[Depends(maintainer)]))
app.mount("/page", StaticFiles(directory=PAGE), name="page")


@app.get("/", include_in_schema=False)
def page(session: Session = None) -> Response:
    """The page; a browser that comes for the first time is given a session."""
    response = FileResponse(PAGE / "index.html", headers={"Content-Security-Policy": POLICY})
    if store.seen(session) is None:
        response.set_cookie("session", store.new_session(), max_age=int(SESSION_S), httponly=True, samesite="strict")
    return response


@app.get("/api/practice")
def practice(session: Session = None) -> dict[str, Any]:
    """The sentences, and the name the visitor gave before."""
    return {"resources": store.resources(), "user_name": store.seen(session) or "", "most_bytes": MOST_BYTES}


@app.get("/api/resources/{resource_id}")
async def resource(resource_id: str) -> dict[str, str]:
    """One sentence, which is counted as a view of it."""
    sentence = await _sentence(resource_id)
    await views.count(resource_id)
    return {"id": resource_id, "sentence": sentence}


@app.websocket("/ws/speak/{resource_id}")
async def speak(
    socket: WebSocket, resource_id: str, task: str | None = None, after: Annotated[int, Query(ge=0)] = 0
) -> None:
    """Record over a WebSocket; see `conversation`."""
    await converse(socket, resource_id, task, after)


@app.post("/api/speak/{resource_id}", status_code=202)
async def upload(
    resource_id: str,
    request: Request,
    response: Response,
    background_tasks: BackgroundTasks,
    user_name: str = "Student",
    session: Session = None,
    idempotency_key: Annotated[str | None, Header(max_length=100)] = None,
) -> dict[str, str]:
    """Upload a recording as the body. It is worked on once this response is sent: ask at its Location."""
    await _sentence(resource_id)
    audio = await _body(request)
    name = named(user_name)
    is_known = await asyncio.to_thread(store.seen, session, name) is not None
    task_id = await tasks.submit(
        "process_speak_audio",
        resource_id,
        [base64.b64encode(audio).decode()],
        name,
        background_tasks=background_tasks,
        user_id=session if is_known else None,
        idempotency_key=idempotency_key,
    )
    response.headers["Location"] = f"/api/tasks/{task_id}/status"
    return {"task_id": task_id}


async def _body(request: Request) -> bytes:
    """The body, never more of it in memory than is allowed. Raises HTTPException: 400, 413."""
    if int(request.headers.get("content-length", "0")) > MOST_BYTES:
        raise HTTPException(413, TOO_LARGE)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise HTTPException(413, TOO_LARGE)
    if not body:
        raise HTTPException(400, "The recording is empty: send the audio file as the body.")
    return bytes(body)


async def _sentence(resource_id: str) -> str:
    sentence = await asyncio.to_thread(store.sentence, resource_id)
    if sentence is None:
        raise HTTPException(404, f"There is no sentence {resource_id[:40]}.")
    return sentence


def main() -> None:
    """Serve on this machine alone."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else PORT
    print(f"Speaking practice is at http://127.0.0.1:{port}", flush=True)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", ws_max_size=MOST_BYTES)


if __name__ == "__main__":
    main()
