"""What converters need of their input file: that it is there, and that it is no archive that inflates."""

import zipfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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
        is_wrapped = stream.read(8) == _OLE_MARK
    if is_wrapped:
        path = _decrypted(given, path)
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
        raise broken("The file is a broken or cut off archive.") from error
    _check(infos)
    return path


def _decrypted(given: ConversionInput, path: Path) -> Path:
    """The Office file that lies encrypted in another, opened with the caller's password. Raises ConversionError."""
    password = given.options.get("password")
    if find_spec("msoffcrypto") is None:
        raise encrypted()
    if not isinstance(password, str) or not password:
        raise encrypted('Send it with the option "password", or without protection.')
    office: Any = import_module("msoffcrypto")  # 0.1 s that files without a password need not pay
    failures: tuple[type[Exception], ...] = (
        import_module("msoffcrypto.exceptions").InvalidKeyError,
        import_module("msoffcrypto.exceptions").DecryptionError,
    )
    opened = given.work_dir / "opened.zip"
    try:
        with path.open("rb") as stream, opened.open("wb") as target:
            file = office.OfficeFile(stream)
            file.load_key(password=password, verify_password=True)
            file.decrypt(target)
    except failures as error:
        raise encrypted("The password does not open it: check it, or send the file without protection.") from error
    except (import_module("msoffcrypto.exceptions").FileFormatError, OSError, ValueError, KeyError) as error:
        raise broken("The encrypted file is damaged.") from error
    return opened


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


def encrypted(hint: str = "Remove the password and send it again.") -> ConversionError:
    """The refusal of a file that cannot be opened without its password."""
    return ConversionError("The file is protected with a password.", code="encrypted", hint=hint)


def broken(message: str) -> ConversionError:
    """The refusal of a file that its format's reader cannot make sense of."""
    return ConversionError(
        message, code="broken_file", hint="Open it in the program that made it, save it again, and send that."
    )
