"""What `/docs` and `/openapi.json` say beyond the routes: the rules for all of them, forms, and problem answers."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from morag.api.errors import MEDIA_TYPE
from morag.api.schemas.problem import Problem
from morag.api.schemas.submissions import Conversion, Ingestion

TEXT = """
Everything you have as Markdown you can search.

**Rules for every route**

1. **Who.** A key comes as `Authorization: Bearer KEY`, `Authorization: ApiKey KEY` or `X-API-Key: KEY`; one that is
   wrong, expired or revoked is 401, never anonymous. Without a key you are `anonymous`, by default only from this
   machine itself and only until the first key is made (`MORAG_ALLOW_ANONYMOUS`). A key has scopes: `submit` for
   documents and tasks, `worker` for a machine that runs its user's work, `admin` for keys and everybody's numbers, but
   nobody's documents; a key without the scope is 403. `/health/*`, `/docs` and `/openapi.json` need no key, nor
   `/metrics` from this machine itself. Foreign Host names are 421, writes from foreign web pages 403.
2. **Yours.** Another user's task or document is 404, as one that does not exist.
3. **Errors** are `application/problem+json` with `type title status detail code request_id`, what to do as `hint`, and
   for bad input `errors[]` with the field. 400 what is asked cannot be, 401, 403, 404, 409 taken or contradicting, 410
   cancelled, 413 too large, 415 cannot be converted, 422 malformed, 429 and 503 try again after `Retry-After`, 504 a
   conversion that took longer than it may (`remote_timeout` raises that), 507 the disk is low. 500 is a bug.
4. **Again.** `Idempotency-Key` on a POST that submits gives the same task for 24 hours; the same key with another body
   is 409. `X-Request-Id` and `traceparent` are taken and returned.
5. **Uploads** are streamed to disk. File names are shown to people, never used as paths.
6. **Waiting.** `/process/*` answers when the conversion is done, or 202 with `Location` after `Prefer: wait=N` seconds
   (300). `Accept: text/markdown` gives the Markdown alone. If you hang up while waiting, the task is cancelled, unless
   you gave an `Idempotency-Key` to come back with.

Times are RFC 3339, UTC. Fields nobody knows are refused by name.
"""

_REF = "#/components/schemas/{model}"
_PROBLEM = {
    "description": "What went wrong, and what to do.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}},
}


_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "The key."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The key."},
}
_WAYS_IN: list[dict[str, list[str]]] = [{"bearer": []}, {"header": []}, {}]
"""Either, or none where anonymous requests are allowed."""


def form_body(model: type[BaseModel]) -> dict[str, Any]:
    """The description of a multipart form: a file beside the fields of `model`, objects as JSON text."""
    schema = model.model_json_schema(ref_template=_REF)
    schema.pop("$defs", None)
    as_text = {
        name: {
            "type": "string",
            "contentMediaType": "application/json",
            "description": schema["properties"][name]["description"],
        }
        for name in ("metadata", "options")
    }
    file = {"type": "string", "format": "binary", "description": "The file."}
    schema |= {
        "title": f"{model.__name__}Form",
        "properties": {"file": file, **schema["properties"], **as_text},
        "required": ["file"],
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        _, named = models_json_schema(
            [(Conversion, "validation"), (Ingestion, "validation"), (Problem, "serialization")], ref_template=_REF
        )
        document["components"]["schemas"] |= named["$defs"]
        document["components"]["securitySchemes"] = _SECURITY
        document["security"] = _WAYS_IN
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
                operation["responses"]["default"] = _PROBLEM
        for unused in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(unused, None)
        app.openapi_schema = document
    return app.openapi_schema
