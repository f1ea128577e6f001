"""What converters need of their input file: that it is there, and that it is no archive that inflates."""

import zipfile
from pathlib import Path

from morag.domain.errors import ConversionError
from morag.pipeline.conversion.signatures import ZIP_MAX_ENTRIES
from morag.pipeline.ports import ConversionInput

MAX_INFLATED_BYTES = 1024**3
"""Most an archive may unpack to; a DOCX of 870 pages with its pictures has a tenth of that."""
MAX_PART_BYTES = 512 * 1024**2
"""Most one entry of an archive may unpack to."""
_MAX_RATIO = 300
"""Most an entry may shrink by; DEFLATE's own limit is 1,032, real XML stays under 100."""
_RATIO_COUNTS_FROM = 16 * 1024**2
_OLE_MARK = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def file_of(given: ConversionInput) -> Path:
    """The input's file. Raises ConversionError: `no_file` for an input that is a URL alone."""
    if given.path is None:
        raise ConversionError("There is no file to convert.", code="no_file", hint="Send the file itself.")
    return given.path


def archive_of(given: ConversionInput) -> Path:
    """The input's file, found to be a ZIP archive of bearable size.

    Sizes are those the archive tells; zipfile refuses to unpack more than was told.
    Raises ConversionError: `encrypted`, `broken_file`, `zip_bomb`.
    """
    path = file_of(given)
    with path.open("rb") as stream:
        if stream.read(8) == _OLE_MARK:
            raise encrypted()
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
        raise broken("The file is a broken or cut off archive.") from error
    _check(infos)
    return path


def _check(infos: list[zipfile.ZipInfo]) -> None:
    if any(info.flag_bits & 1 for info in infos):
        raise encrypted()
    total = sum(info.file_size for info in infos)
    if len(infos) > ZIP_MAX_ENTRIES or total > MAX_INFLATED_BYTES or any(map(_inflates, infos)):
        raise ConversionError(
            f"The file unpacks to {total // 1024**2:,} MiB in {len(infos):,} entries, which is more than is taken.",
            code="zip_bomb",
            hint=f"At most {MAX_INFLATED_BYTES // 1024**2:,} MiB are unpacked, and nothing packed {_MAX_RATIO} to 1.",
        )


def _inflates(info: zipfile.ZipInfo) -> bool:
    is_dense = info.file_size > _RATIO_COUNTS_FROM and info.file_size > _MAX_RATIO * max(info.compress_size, 1)
    return is_dense or info.file_size > MAX_PART_BYTES


def encrypted() -> ConversionError:
    """The refusal of a file that cannot be opened without its password."""
    return ConversionError(
        "The file is protected with a password.", code="encrypted", hint="Remove the password and send it again."
    )


def broken(message: str) -> ConversionError:
    """The refusal of a file that its format's reader cannot make sense of."""
    return ConversionError(
        message, code="broken_file", hint="Open it in the program that made it, save it again, and send that."
    )
