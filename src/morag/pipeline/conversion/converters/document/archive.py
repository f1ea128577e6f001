"""ZIP archives: each file in them converted under a heading with its name, within bounds of number, size and depth."""

import posixpath
import zipfile
import zlib

from morag.domain.content import Document
from morag.domain.errors import ConversionError
from morag.domain.json import JsonObject
from morag.pipeline.conversion.converters.document.nested import MAX_DEPTH, convert_within
from morag.pipeline.conversion.markdown import MarkdownBuilder, escape, one_line
from morag.pipeline.conversion.sources import archive_of, broken
from morag.pipeline.ports import ConversionInput, ReportProgress

MAX_FILES = 500
"""Files of one archive that are converted; an archive of more is a matter of many uploads."""
MAX_FILE_BYTES = 200 * 1024**2
"""Most one of them may unpack to, as each is held in memory once."""


class ArchiveConverter:
    """ZIP to one document."""

    def convert(self, given: ConversionInput, report: ReportProgress) -> Document:
        """The document.

        Raises ConversionError: `broken_file`, `encrypted`, `zip_bomb`, `too_deep`, `nothing_inside`.
        """
        if given.depth >= MAX_DEPTH:
            raise ConversionError("It lies too deep in other files.", code="too_deep")
        builder = MarkdownBuilder()
        with zipfile.ZipFile(archive_of(given)) as archive:
            infos = [info for info in archive.infolist() if _is_file(info)]
            converted: list[str] = []
            for at, info in enumerate(infos[:MAX_FILES]):
                name = shown_name(info.filename)
                report(at / len(infos), "processing", f"file {at + 1} of {len(infos)}")
                builder.heading(2, escape(name))
                try:
                    document = convert_within(given, _content(archive, info), at=at, name=name, media_type=None)
                except ConversionError as error:
                    builder.block(f"*Not converted: {escape(error.message)}*")
                    continue
                builder.include(document, under=2)
                converted.append(name)
        if not converted:
            raise ConversionError(
                "Nothing in the archive can be converted.",
                code="nothing_inside",
                hint="Send the files themselves to see why.",
            )
        metadata: JsonObject = {"files": [*converted], "files_left_out": len(infos) - len(converted)}
        return builder.document(
            content_type=given.detected.content_type, media_type=given.detected.media_type, metadata=metadata
        )


def _is_file(info: zipfile.ZipInfo) -> bool:
    """Whether an entry is a file somebody put there, not a folder or what a system keeps beside files."""
    parts = info.filename.replace("\\", "/").split("/")
    return not info.is_dir() and "__MACOSX" not in parts and not parts[-1].startswith(".")


def shown_name(name: str) -> str:
    """The name of an entry for people: no way out of the archive, and not too long."""
    inside = posixpath.normpath("/" + name.replace("\\", "/")).lstrip("/")
    return one_line("".join(char for char in inside if char.isprintable()))[-200:] or "unnamed"


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.file_size > MAX_FILE_BYTES:
        raise ConversionError("It is too large to be unpacked here; send it by itself.", code="too_large")
    try:
        return archive.read(info)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise broken("It cannot be unpacked.") from error
