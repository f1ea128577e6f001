"""Bodies the other side compressed though it was asked not to: unpacked in small pieces, so that a bomb ends early."""

import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator

from morag.domain.errors import FetchFailed
from morag.storage.sizes import in_words

PIECE_BYTES = 1024**2
"""Most that is unpacked at once: what a bomb may take of memory."""
MAX_RATIO = 100
"""Unpacked bytes to one received: text seldom passes 20, DEFLATE's limit is 1,032."""
FREE_BYTES = 8 * 1024**2
"""Unpacked size up to which the ratio is not looked at."""

CODINGS = frozenset({"gzip", "x-gzip", "deflate"})


async def decoded(chunks: AsyncIterator[bytes], coding: str) -> AsyncGenerator[bytes]:
    """The body without its Content-Encoding (`identity` or one of CODINGS). Raises FetchFailed."""
    if coding == "identity":
        async for chunk in chunks:
            yield chunk
        return
    inflater = Inflater(is_gzip=coding != "deflate")
    async for chunk in chunks:
        for piece in inflater.feed(chunk):
            yield piece
    yield inflater.finish()


class Inflater:
    """Unpacks gzip (any number of members) or deflate (with or without the zlib header, as servers send both)."""

    def __init__(self, *, is_gzip: bool) -> None:
        self._is_gzip = is_gzip
        self._start = b""
        self._stream = zlib.decompressobj(wbits=31) if is_gzip else None
        self._taken = 0
        self._given = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` unpacks to, in pieces. Raises FetchFailed with code `decompression_bomb` or `bad_encoding`."""
        self._taken += len(data)
        if self._stream is None:
            self._start += data
            if len(self._start) < 2:
                return
            data, self._start = self._start, b""
            self._stream = zlib.decompressobj(wbits=_deflate_window(data))
        while data:
            if self._stream.eof:
                if not self._is_gzip or not data.startswith(b"\x1f"):
                    return  # padding after the end, which browsers ignore as well
                self._stream = zlib.decompressobj(wbits=31)
            yield self._unpack(self._stream.decompress, data)
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail

    def finish(self) -> bytes:
        """The last bytes, after all was fed. Raises FetchFailed with code `incomplete_body`."""
        rest = b"" if self._stream is None else self._stream.flush()
        if self._stream is None or not self._stream.eof:
            raise FetchFailed("The compressed body ends too early.", code="incomplete_body", is_temporary=True)
        return rest

    def _unpack(self, inflate: Callable[[bytes, int], bytes], data: bytes) -> bytes:
        try:
            piece = inflate(data, PIECE_BYTES)
        except zlib.error:
            raise FetchFailed("The body is not compressed the way its header says.", code="bad_encoding") from None
        self._given += len(piece)
        if self._given > max(FREE_BYTES, MAX_RATIO * self._taken):
            raise FetchFailed(
                f"The body unpacks to over {in_words(self._given)} from {in_words(self._taken)}; that is not unpacked.",
                code="decompression_bomb",
            )
        return piece


def _deflate_window(start: bytes) -> int:
    """The `wbits` for a deflate body: RFC 1950 tells its header by a checksum over two bytes; else it is raw."""
    has_header = start[0] & 0x0F == 8 and int.from_bytes(start[:2], "big") % 31 == 0
    return 15 if has_header else -15
