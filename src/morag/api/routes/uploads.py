"""Files handed in ahead of the task that will use them."""

import re
from uuid import uuid4

from fastapi import APIRouter, Request

from morag.api import uploads
from morag.api.access import Submitter
from morag.api.dependencies import CurrentSystem, MaxUploadBytes
from morag.api.schemas.remote_jobs import Uploaded
from morag.bootstrap.system import System
from morag.domain.content import Source
from morag.domain.errors import InvalidRequest, NotFound

router = APIRouter(prefix="/api/v1/uploads", tags=["remote jobs"])

_ID = re.compile(r"upload-[0-9a-f]{32}")
_FILE = {"type": "string", "format": "binary", "description": "The file."}
_FORM = {"type": "object", "properties": {uploads.FILE: _FILE}, "required": [uploads.FILE]}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _FORM},
            "application/octet-stream": {"schema": _FILE},
        },
    },
    "parameters": [
        {
            "name": uploads.NAME,
            "in": "header",
            "schema": {"type": "string"},
            "description": "The name of a file that is sent raw, percent-encoded where it is not ASCII.",
        }
    ],
}


@router.post("", status_code=201, openapi_extra=_BODY)
@router.post("/", status_code=201, include_in_schema=False)
async def upload_file(
    request: Request, caller: Submitter, system: CurrentSystem, max_bytes: MaxUploadBytes
) -> Uploaded:
    """Hand in a file, as a form or raw with `X-Filename`; the id is yours alone and good for a day."""
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        form = await uploads.receive_form(request, system.blobs, max_bytes=max_bytes)
        if form.fields:
            name = min(form.fields)[:100]
            raise InvalidRequest(f"There is no field '{name}' here.", hint="Send `file` alone.", field=name)
        source = form.file
    else:
        source = await uploads.receive_raw(request, system.blobs, max_bytes=max_bytes)
    upload_id = f"upload-{uuid4().hex}"
    await system.uploads.keep(caller.user_id, upload_id, source)
    return Uploaded(upload_id=upload_id, size=source.size_bytes, sha256=source.sha256)


async def uploaded(system: System, user_id: str, upload_id: str) -> Source:
    """The user's upload. Raises InvalidRequest for what is no upload's id, NotFound."""
    if not _ID.fullmatch(upload_id):
        raise InvalidRequest(
            "This is not the id of an upload; paths are not taken.",
            code="not_an_upload",
            hint="Send the file to POST /api/v1/uploads and name the upload_id it answers.",
            field="upload_id",
        )
    source = await system.uploads.get(user_id, upload_id)
    if source is None:
        raise NotFound("There is no such upload.", hint="An upload is kept for a day; send the file again.")
    return source
