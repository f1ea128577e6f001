"""Tells binary formats by their first bytes, and containers by what they hold, without parsing any of it.

Used by detection in the server process on input of strangers: every read is bounded.
"""

import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

from morag.domain.errors import ConversionError

ZIP_MAX_ENTRIES = 20_000
"""Entries of an archive that is looked into; an 870-page DOCX has a few hundred, a large workbook a thousand."""
_ZIP_MAX_DIRECTORY = 4 * 1024**2
_ZIP_END = b"PK\x05\x06"
_OOXML = "application/vnd.openxmlformats-officedocument"

_PREFIXES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"II+\0", "image/tiff"),
    (b"MM\0+", "image/tiff"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
)
_RIFF = {b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo", b"WEBP": "image/webp"}
_OLE_MARK = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_NAMES = (
    ("WordDocument", "application/msword"),
    ("PowerPoint Document", "application/vnd.ms-powerpoint"),
    ("Workbook", "application/vnd.ms-excel"),
    ("Book", "application/vnd.ms-excel"),
    ("__substg1.0_", "application/vnd.ms-outlook"),
    ("__properties_version1.0", "application/vnd.ms-outlook"),
)
_OOXML_BY_EXTENSION = {
    "docx": f"{_OOXML}.wordprocessingml.document",
    "pptx": f"{_OOXML}.presentationml.presentation",
    "xlsx": f"{_OOXML}.spreadsheetml.sheet",
}
_OOXML_BY_PART = {
    "word/": f"{_OOXML}.wordprocessingml.document",
    "ppt/": f"{_OOXML}.presentationml.presentation",
    "xl/": f"{_OOXML}.spreadsheetml.sheet",
}


def signature(path: Path, head: bytes, extension: str) -> str | None:
    """The media type told by the bytes; None if nothing binary is known about them. Raises ConversionError."""
    plain = next((media_type for mark, media_type in _PREFIXES if head.startswith(mark)), None)
    if plain is not None:
        return plain
    if head.startswith((b"PK\x03\x04", _ZIP_END)):
        return _zip_kind(path)
    if head.startswith(_OLE_MARK):
        return _ole_kind(path, head, extension)
    return _media(head) or ("application/pdf" if _is_pdf(head) else _mpeg_audio(head))


def _media(head: bytes) -> str | None:
    """Pictures, sound and films whose mark stands behind a length or a family name."""
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _iso_media(head)
    if head.startswith(b"\x1aE\xdf\xa3"):
        return _matroska(head)
    return "image/bmp" if head.startswith(b"BM") and head[6:10] == b"\0\0\0\0" else None


def _is_pdf(head: bytes) -> bool:
    """Readers allow anything before the mark within the first KiB; text that only talks about PDF is none."""
    at = head[:1024].find(b"%PDF-")
    return at == 0 or (at > 0 and (not head[:at].strip() or b"\0" in head[:at] or b"obj" in head[at : at + 2048]))


def _iso_media(head: bytes) -> str | None:
    """MP4 and its kin: by brand, then by whether a video track is told of."""
    brand = head[8:12]
    if brand in {b"heic", b"heix", b"mif1", b"avif", b"heim", b"hevc"}:
        return None
    if brand in {b"M4A ", b"M4B ", b"M4P "}:
        return "audio/mp4"
    if brand == b"qt  ":
        return "video/quicktime"
    has_sound, has_picture = b"soun" in head, b"vide" in head
    return "audio/mp4" if has_sound and not has_picture else "video/mp4"


def _matroska(head: bytes) -> str:
    if b"webm" not in head[:64]:
        return "video/x-matroska"
    has_picture = b"V_VP8" in head or b"V_VP9" in head or b"V_AV1" in head
    return "audio/webm" if not has_picture and (b"A_OPUS" in head or b"A_VORBIS" in head) else "video/webm"


def _mpeg_audio(head: bytes) -> str | None:
    """MP3 and AAC without a tag: a frame header whose fields are all allowed ones (FF FE would be a mark of UTF-16)."""
    if len(head) < 4 or head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0:
        return "audio/aac"
    is_frame = head[1] & 0xE0 == 0xE0 and head[1] & 0x18 != 0x08 and head[1] & 0x06 in {0x02, 0x04}
    return "audio/mpeg" if is_frame and head[2] & 0xF0 != 0xF0 and head[2] & 0x0C != 0x0C else None


def _zip_kind(path: Path) -> str | None:
    with path.open("rb") as stream:
        _check_directory(stream)
        try:
            with zipfile.ZipFile(stream) as archive:
                names = [info.filename for info in archive.infolist()]
                own = _own_word(archive)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError) as error:
            raise _broken_zip() from error
    if own is not None:
        return own
    for name in names:
        for part, media_type in _OOXML_BY_PART.items():
            if name.replace("\\", "/").startswith(part) and "[Content_Types].xml" in names:
                return media_type
    return "application/zip"


def _own_word(archive: zipfile.ZipFile) -> str | None:
    """What OpenDocument and EPUB files say of themselves in their entry `mimetype`."""
    try:
        info = archive.getinfo("mimetype")
    except KeyError:
        return None
    if info.file_size > 200 or info.compress_size > 1000 or info.flag_bits & 1:
        return None
    return archive.read(info).decode("ascii", errors="replace").strip().removesuffix("-template")


def _check_directory(stream: BinaryIO) -> None:
    """Look at the archive's end record, so that no huge directory is read. Raises ConversionError."""
    size = stream.seek(0, 2)
    tail_size = min(size, 65_557)  # the record and the longest comment
    stream.seek(size - tail_size)
    tail = stream.read(tail_size)
    at = tail.rfind(_ZIP_END)
    if at < 0 or len(tail) - at < 22:
        raise _broken_zip()
    entries, directory = struct.unpack_from("<HI", tail, at + 10)
    if entries > ZIP_MAX_ENTRIES or directory > _ZIP_MAX_DIRECTORY:
        raise ConversionError(
            "The archive has too many entries.", code="too_large", hint=f"At most {ZIP_MAX_ENTRIES} entries are read."
        )
    stream.seek(0)


def _broken_zip() -> ConversionError:
    return ConversionError(
        "The file is a broken or cut off ZIP archive (Office, OpenDocument and EPUB files are such archives).",
        code="broken_file",
        hint="Open it in the program that made it, save it again, and send that.",
    )


def _ole_kind(path: Path, head: bytes, extension: str) -> str | None:
    """Old Office files by the names in their directory; a new one that is encrypted by its extension."""
    shift, first = struct.unpack_from("<H", head, 30)[0], struct.unpack_from("<I", head, 48)[0]
    directory = b""
    if shift in {9, 12}:
        with path.open("rb") as stream:
            stream.seek((first + 1) << shift)
            directory = stream.read(65_536)
    if not directory:
        raise ConversionError(
            "The file is cut off: its table of contents is missing.",
            code="broken_file",
            hint="Open it in the program that made it, save it again, and send that.",
        )
    seen = head + directory
    if "EncryptedPackage".encode("utf-16-le") in seen:
        return _OOXML_BY_EXTENSION.get(extension, _OOXML_BY_EXTENSION["docx"])
    return next((kind for name, kind in _OLE_NAMES if name.encode("utf-16-le") in seen), None)
