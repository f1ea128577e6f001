"""The server's own HTTPS: a certificate and its key, found wanting before anything is bound."""

import ssl
from pathlib import Path

from morag.domain.errors import StartupError
from morag.settings import Settings

_CERT, _KEY = "MORAG_TLS_CERT", "MORAG_TLS_KEY"


def files(settings: Settings) -> tuple[Path, Path] | None:
    """Certificate and key, known to fit each other; None for plain HTTP. Raises StartupError naming the variable."""
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        missing = _KEY if key is None else _CERT
        raise _wrong(f"{missing} is not set.", "HTTPS needs both, MORAG_TLS_CERT and MORAG_TLS_KEY; or leave out both.")
    for name, path in ((_CERT, cert), (_KEY, key)):
        _check_readable(name, path)
    _check_fit(cert, key)
    return cert, key


def _check_readable(name: str, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise _wrong(
            f"{name}: {path} cannot be read: {error.strerror}.", "Name a PEM file that this user may read."
        ) from None


def _check_fit(cert: Path, key: Path) -> None:
    def no_password() -> str:
        raise _wrong(f"{_KEY}: the key has a password.", "Take it off: `openssl pkey -in KEY -out OPEN_KEY`.")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key, no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise _wrong(
                f"{_KEY} is not the key of {_CERT}.", "Name the key that the certificate was made for."
            ) from None
        raise _wrong(
            f"{_CERT} and {_KEY} are not a certificate and its key.", "Both are PEM files: `-----BEGIN …`."
        ) from None


def _wrong(message: str, hint: str) -> StartupError:
    return StartupError(message, code="bad_setting", hint=hint)
