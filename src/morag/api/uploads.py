"""Uploads: a multipart form whose one file goes to the blob store while it arrives, and is never held in memory.

request body ─▶ parser ─▶ head of a part ─┬ `file` ─▶ blobs.receive(its bytes as they come)
                                          └ any other ─▶ text, within limits
Blocks are pulled: the parser is fed the next block of the body only when the bytes of the last are written.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Protocol
from urllib.parse import unquote_to_bytes

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from morag.api.errors import hang_up
from morag.domain.content import Source
from morag.domain.errors import InvalidRequest, MoragError, TooLarge

MAX_PARTS = 100
MAX_FIELD_BYTES = 1024**2
MAX_FIELDS_BYTES = 4 * 1024**2
"""All fields together, the file aside."""
FILE = "file"
NAME = "X-Filename"
"""Header that names a file sent as a raw body."""

_LINGER_S = 5.0
"""How long the rest of a refused upload is read and thrown away, so that the client gets to read the answer."""
_SILENCE_S = 1.0
"""How long it may be silent meanwhile."""
_MAX_NAME = 255
_NO_MEDIA_TYPE = frozenset({"", "application/octet-stream", "application/x-www-form-urlencoded"})
"""What programs send as the type of a raw body that they know nothing about."""
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Receiver(Protocol):
    """Where the bytes of a file go."""

    async def receive(self, chunks: AsyncIterator[bytes], *, max_bytes: int) -> tuple[str, int]:
        """Store what comes: digest and size. Raises TooLarge, StorageFull, InvalidRequest."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What an upload brought: the stored file and the text of the other fields."""

    file: Source
    fields: dict[str, str]


@dataclass(slots=True)
class _Head:
    """The headers of a part, as the parser reads them."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    key: bytes = b""
    value: bytes = b""

    def end_header(self) -> None:
        """Keep the header that was read, begin the next."""
        self.headers[self.key.lower()] = self.value
        self.key = self.value = b""

    @property
    def media_type(self) -> str | None:
        """What the sender says the part is."""
        return self.headers.get(b"content-type", b"").decode("latin-1")[:255] or None

    def parameters(self) -> dict[bytes, bytes]:
        """The parameters of its Content-Disposition."""
        return parse_options_header(self.headers.get(b"content-disposition"))[1]


_END_OF_PART = b""


class _Parts:
    """The parts of a multipart body, pulled from the request: a head, its blocks, an empty block; then the next."""

    def __init__(self, request: Request, *, max_bytes: int) -> None:
        self._request = request
        self._body = request.stream()
        self._ready: deque[_Head | bytes] = deque()
        self._head = _Head()
        self._parser = MultipartParser(
            _boundary(request),
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_key,
                "on_header_value": self._on_value,
                "on_header_end": self._end_header,
                "on_headers_finished": lambda: self._ready.append(self._head),
                "on_part_data": lambda data, start, end: self._ready.append(data[start:end]),
                "on_part_end": lambda: self._ready.append(_END_OF_PART),
                "on_end": self._complete,
            },
        )
        self._left = max_bytes
        self._is_complete = False

    async def next(self) -> _Head | bytes | None:
        """What comes next; None at the end of the form. Raises InvalidRequest, ClientDisconnect."""
        while not self._ready:
            block = await anext(self._body, None)
            if block is None:
                if not self._is_complete:
                    raise _broken("it ends before its last boundary")
                return None
            self._feed(block)
        return self._ready.popleft()

    async def rest(self) -> None:
        """Read what is left and drop it, for a while."""
        await _rest(self._request, self._body)

    def _feed(self, block: bytes) -> None:
        self._left -= len(block)
        if self._left < 0:
            raise TooLarge("The form is too long.", hint="The operator may raise MORAG_MAX_UPLOAD_BYTES.")
        try:
            self._parser.write(block)
        except FormParserError:
            raise _broken("it is not well-formed") from None

    def _begin(self) -> None:
        self._head = _Head()

    def _on_key(self, data: bytes, start: int, end: int) -> None:
        self._head.key += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._head.value += data[start:end]

    def _end_header(self) -> None:
        self._head.end_header()

    def _complete(self) -> None:
        self._is_complete = True


async def receive_form(request: Request, blobs: Receiver, *, max_bytes: int) -> Form:
    """Read the form and store its file. Raises InvalidRequest, TooLarge, StorageFull, ClientDisconnect."""
    longest = max_bytes + MAX_FIELDS_BYTES
    parts = _Parts(request, max_bytes=longest)
    told = request.headers.get("content-length", "")
    is_too_long = told.isdecimal() and int(told) > longest
    try:
        if is_too_long:
            raise TooLarge(
                f"A file may be {max_bytes} bytes long.", hint="The operator may raise MORAG_MAX_UPLOAD_BYTES."
            )
        return await _read(parts, blobs, max_bytes)
    except MoragError:
        if not (is_too_long and "expect" in request.headers):
            await parts.rest()
        raise


async def receive_raw(request: Request, blobs: Receiver, *, max_bytes: int) -> Source:
    """Store the body as a file, named by the header NAME.

    Raises InvalidRequest, TooLarge, StorageFull, ClientDisconnect.
    """
    name = unquote_to_bytes(request.headers.get(NAME, "").encode("latin-1"))
    if not name:
        raise InvalidRequest("The file has no name.", hint=f"Send {NAME}, or a form with a part `{FILE}`.", field=NAME)
    body = request.stream()
    try:
        sha256, size_bytes = await blobs.receive(body, max_bytes=max_bytes)
    except MoragError:
        await _rest(request, body)
        raise
    told = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    media_type = None if told in _NO_MEDIA_TYPE else told[:255]
    return Source(sha256=sha256, size_bytes=size_bytes, filename=safe_name(name), media_type=media_type)


async def _read(parts: _Parts, blobs: Receiver, max_bytes: int) -> Form:
    file: Source | None = None
    fields: dict[str, str] = {}
    left = MAX_FIELDS_BYTES
    for _ in range(MAX_PARTS):
        head = await parts.next()
        if not isinstance(head, _Head):
            return _form(file, fields)
        parameters = head.parameters()
        name = parameters.get(b"name", b"").decode(errors="replace")
        if name in fields or (name == FILE and file):
            raise InvalidRequest(f"The field '{name[:100]}' stands twice in the form.", field=name[:100])
        if name == FILE:
            file = await _store(parts, head, parameters.get(b"filename"), blobs, max_bytes)
        else:
            text = await _text(parts, name, min(left, MAX_FIELD_BYTES))
            left -= len(text.encode())
            fields[name] = text
    raise InvalidRequest(f"A form may have {MAX_PARTS} parts.", field="body")


def _form(file: Source | None, fields: dict[str, str]) -> Form:
    if file is None:
        raise InvalidRequest(
            "The file is missing.", code="missing_file", hint="Send it as the part `file` of the form.", field=FILE
        )
    return Form(file=file, fields=fields)


async def _store(parts: _Parts, head: _Head, filename: bytes | None, blobs: Receiver, max_bytes: int) -> Source | None:
    """The stored file; None if the browser sent the field without a file in it."""
    blocks = _blocks(parts)
    if not filename:
        if sum([len(block) async for block in blocks]):
            raise InvalidRequest("The file has no name.", hint="Give the part `file` a filename.", field=FILE)
        return None
    try:
        sha256, size_bytes = await blobs.receive(blocks, max_bytes=max_bytes)
    except InvalidRequest as error:
        raise InvalidRequest(error.message, code=error.code, hint=error.hint, field=error.field or FILE) from None
    return Source(sha256=sha256, size_bytes=size_bytes, filename=safe_name(filename), media_type=head.media_type)


async def _blocks(parts: _Parts) -> AsyncGenerator[bytes]:
    while (block := await parts.next()) != _END_OF_PART:
        if isinstance(block, bytes):
            yield block
        elif block is None:
            return


async def _text(parts: _Parts, name: str, max_bytes: int) -> str:
    content = bytearray()
    async for block in _blocks(parts):
        content += block
        if len(content) > max_bytes:
            raise TooLarge(f"The field '{name[:100]}' is too long.", hint=f"A field may be {MAX_FIELD_BYTES} bytes.")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"The field '{name[:100]}' is not UTF-8.", field=name[:100]) from None


def safe_name(raw: bytes) -> str:
    """A file name for people: no folders, no control characters, at most 255 characters; its extension is kept."""
    name = raw.decode(errors="replace").replace("\\", "/").rpartition("/")[2]
    name = _UNPRINTABLE.sub("", name).strip()
    if name in {"", ".", ".."}:
        return "unnamed"
    if len(name) <= _MAX_NAME:
        return name
    suffix = PurePath(name).suffix[:20]
    return name[: _MAX_NAME - len(suffix)] + suffix


async def _rest(request: Request, body: AsyncGenerator[bytes]) -> None:
    clock = asyncio.get_running_loop()
    end = clock.time() + _LINGER_S
    # no timeout around it all: before Python 3.12 wait_for swallows a cancellation that comes as its own wait is over
    while (left := end - clock.time()) > 0:
        try:
            if await asyncio.wait_for(anext(body, None), min(left, _SILENCE_S)) is None:
                return
        except TimeoutError:
            break
    hang_up(request.scope)


def _boundary(request: Request) -> bytes:
    media_type, parameters = parse_options_header(request.headers.get("content-type"))
    boundary = parameters.get(b"boundary", b"")
    if media_type != b"multipart/form-data" or not 0 < len(boundary) <= 200:
        raise InvalidRequest(
            "The body is not a form with a file.", hint="Send multipart/form-data with a part `file`.", field="body"
        )
    return boundary


def _broken(why: str) -> InvalidRequest:
    return InvalidRequest(f"The form cannot be read: {why}.", hint="Send multipart/form-data.", field="body")
