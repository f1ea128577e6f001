from collections.abc import AsyncIterator

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect
from starlette.types import Message

from morag.api.uploads import MAX_FIELD_BYTES, MAX_PARTS, Form, receive_form, safe_name
from morag.domain.errors import InvalidRequest, MoragError, TooLarge

FILE = b'Content-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\n'


class Shelf:
    """Keeps what it is given, and notes how much of it was there at once."""

    def __init__(self) -> None:
        self.content = b""
        self.longest = 0

    async def receive(self, chunks: AsyncIterator[bytes], *, max_bytes: int) -> tuple[str, int]:
        """Take all."""
        async for chunk in chunks:
            self.longest = max(self.longest, len(chunk))
            self.content += chunk
            if len(self.content) > max_bytes:
                raise TooLarge("too large")
        if not self.content:
            raise InvalidRequest("The file is empty.", code="empty_file")
        return "0" * 64, len(self.content)


def request(
    blocks: list[bytes], *, content_type: str = "multipart/form-data; boundary=b", hang_up: bool = False
) -> Request:
    messages: list[Message] = [{"type": "http.request", "body": block, "more_body": True} for block in blocks]
    messages.append(
        {"type": "http.disconnect"} if hang_up else {"type": "http.request", "body": b"", "more_body": False}
    )
    left = iter(messages)

    async def receive() -> Message:
        return next(left)

    return Request({"type": "http", "headers": [(b"content-type", content_type.encode())]}, receive)


def form(*parts: bytes) -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"


def field(name: str, value: bytes) -> bytes:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value


async def read(body: bytes, *, step: int = 65536, max_bytes: int = 10**6) -> tuple[Form, Shelf]:
    shelf = Shelf()
    blocks = [body[start : start + step] for start in range(0, len(body), step)]
    return await receive_form(request(blocks), shelf, max_bytes=max_bytes), shelf


@given(content=st.binary(min_size=1, max_size=300), step=st.integers(1, 64), value=st.text(max_size=50))
async def test_file_and_fields_arrive_whole_however_the_body_is_cut(content: bytes, step: int, value: str) -> None:
    body = form(field("note", value.encode()), FILE + b"<" + content + b">", field("after", b"1"))
    if b"\r\n--b" in content or "\r\n--b" in value:
        return
    got, shelf = await read(body, step=step)
    assert shelf.content == b"<" + content + b">"
    assert got.fields == {"note": value, "after": "1"}
    assert (got.file.filename, got.file.media_type, got.file.size_bytes) == ("a.txt", "text/plain", len(content) + 2)


async def test_file_is_handed_on_in_blocks_no_longer_than_they_came() -> None:
    _, shelf = await read(form(FILE + b"x" * 500_000), step=1000)
    assert shelf.longest <= 1000


async def test_client_that_hangs_up_is_heard_by_the_receiver() -> None:
    shelf = Shelf()
    with pytest.raises(ClientDisconnect):
        await receive_form(request([b"--b\r\n" + FILE + b"some"], hang_up=True), shelf, max_bytes=100)
    assert shelf.content == b"some"


async def test_too_long_file_is_refused() -> None:
    with pytest.raises(TooLarge):
        await read(form(FILE + b"x" * 2000), max_bytes=1000)


async def test_announced_length_over_the_limit_is_refused_before_reading() -> None:
    asked = request([])
    asked.scope["headers"].append((b"content-length", b"99999999999"))
    with pytest.raises(TooLarge):
        await receive_form(asked, Shelf(), max_bytes=1000)


@pytest.mark.parametrize(
    ("body", "code", "name"),
    [
        (form(field("a", b"1")), "missing_file", "file"),
        (form(FILE), "empty_file", "file"),
        (form(b'Content-Disposition: form-data; name="file"; filename=""\r\n\r\n'), "missing_file", "file"),
        (form(field("file", b"text")), "invalid_request", "file"),
        (form(FILE + b"1", FILE + b"2"), "invalid_request", "file"),
        (form(field("a", b"1"), field("a", b"2"), FILE + b"x"), "invalid_request", "a"),
        (form(field("a", b"\xff"), FILE + b"x"), "invalid_request", "a"),
        (form(*(field(f"f{n}", b"") for n in range(MAX_PARTS)), FILE + b"x"), "invalid_request", "body"),
        (b"--b\r\n" + FILE + b"no end", "invalid_request", "body"),
        (b"rubbish", "invalid_request", "body"),
    ],
)
async def test_form_that_cannot_be_names_the_field(body: bytes, code: str, name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await read(body)
    assert (caught.value.code, caught.value.field) == (code, name)


async def test_too_long_field_is_refused() -> None:
    with pytest.raises(TooLarge):
        await read(form(field("a", b"x" * (MAX_FIELD_BYTES + 1)), FILE + b"x"))


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data", "multipart/form-data; boundary="])
async def test_body_that_is_no_form_is_refused(content_type: str) -> None:
    with pytest.raises(InvalidRequest):
        await receive_form(request([], content_type=content_type), Shelf(), max_bytes=10)


@given(st.binary(max_size=400))
async def test_rubbish_is_refused_with_a_clear_word(body: bytes) -> None:
    with pytest.raises(MoragError):
        await read(b"--b\r\n" + body)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"../../etc/passwd", "passwd"),
        (b"C:\\x\\boot.ini", "boot.ini"),
        (b"a\x00b\r\n.txt", "ab.txt"),
        (b"..", "unnamed"),
        (b"dir/", "unnamed"),
        ("naïve☃.txt".encode(), "naïve☃.txt"),
        ("invoice\u202efdp.exe".encode(), "invoicefdp.exe"),
    ],
)
def test_file_name_keeps_only_what_people_may_see(raw: bytes, name: str) -> None:
    assert safe_name(raw) == name


@given(st.binary(max_size=2000))
def test_file_name_is_never_a_path_and_never_long(raw: bytes) -> None:
    name = safe_name(raw)
    assert 0 < len(name) <= 255
    assert name not in {".", ".."}
    assert not set(name) & set("/\\\x00\r\n")


def test_long_file_name_keeps_its_extension() -> None:
    assert safe_name(b"x" * 400 + b".pdf").endswith("x.pdf")
