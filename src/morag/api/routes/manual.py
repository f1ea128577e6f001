"""`/docs`: every route with examples, to be tried out; its scripts come from here, so that it works offline.

`/openapi.json` is what it is made from.
"""

from importlib.resources import files
from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse

from morag.api.access import OPEN

router = APIRouter(include_in_schema=False, dependencies=[OPEN])

Part = Literal["swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"]

_TYPES: dict[Part, str] = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}


@router.get("/openapi.json")
def description(request: Request) -> JSONResponse:
    """The OpenAPI document."""
    return JSONResponse(request.app.openapi())


@router.get("/docs")
async def page() -> HTMLResponse:
    """The page."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="MoRAG",
        swagger_js_url="/docs/swagger-ui-bundle.js",
        swagger_css_url="/docs/swagger-ui.css",
        swagger_favicon_url="/docs/favicon-32x32.png",
    )


@router.get("/docs/{part}")
def part(part: Part) -> Response:
    """A file the page is made of."""
    content = (files("fastapi_swagger") / "resources" / part).read_bytes()
    return Response(content, media_type=_TYPES[part], headers={"Cache-Control": "max-age=86400"})
