"""`/docs`: every route with examples, to be tried out; its scripts come from here, so that it works offline."""

from importlib.resources import files
from typing import Literal

from fastapi import APIRouter, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

router = APIRouter(prefix="/docs", include_in_schema=False)

Part = Literal["swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"]

_TYPES: dict[Part, str] = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}


@router.get("")
async def page() -> HTMLResponse:
    """The page."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="MoRAG",
        swagger_js_url="/docs/swagger-ui-bundle.js",
        swagger_css_url="/docs/swagger-ui.css",
        swagger_favicon_url="/docs/favicon-32x32.png",
    )


@router.get("/{part}")
def part(part: Part) -> Response:
    """A file the page is made of."""
    content = (files("fastapi_swagger") / "resources" / part).read_bytes()
    return Response(content, media_type=_TYPES[part], headers={"Cache-Control": "max-age=86400"})
