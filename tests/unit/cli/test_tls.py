"""What is told of a certificate and a key that do not serve."""

from pathlib import Path

import pytest
from tests.certificates import self_signed

from morag.cli import tls
from morag.domain.errors import StartupError
from morag.settings import Settings


def found(cert: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    return tls.files(Settings.model_validate({"tls_cert": cert, "tls_key": key}))


def told(cert: Path | None, key: Path | None) -> str:
    """How the start is refused."""
    with pytest.raises(StartupError) as caught:
        found(cert, key)
    assert caught.value.code == "bad_setting"
    assert caught.value.hint
    return caught.value.message


def test_without_either_there_is_no_https() -> None:
    assert found(None, None) is None


def test_certificate_and_its_key_serve(tmp_path: Path) -> None:
    pair = self_signed(tmp_path)
    assert found(*pair) == pair


def test_one_needs_the_other(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    assert told(cert, None) == "MORAG_TLS_KEY is not set."
    assert told(None, key) == "MORAG_TLS_CERT is not set."


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    assert "MORAG_TLS_CERT" in (missing := told(tmp_path / "none.pem", key))
    assert "No such file" in missing
    assert "MORAG_TLS_KEY" in (folder := told(cert, tmp_path))
    assert "directory" in folder


def test_key_of_another_certificate_is_not_taken(tmp_path: Path) -> None:
    (cert, _), (_, key) = self_signed(tmp_path / "one"), self_signed(tmp_path / "two")
    assert told(cert, key) == "MORAG_TLS_KEY is not the key of MORAG_TLS_CERT."


def test_key_with_a_password_is_not_asked_for_one(tmp_path: Path) -> None:
    assert "password" in told(*self_signed(tmp_path, password=b"secret"))


def test_what_is_no_certificate_is_told(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    cert.write_text("not a certificate")
    assert "are not a certificate and its key" in told(cert, key)
