import pytest
from hypothesis import given
from hypothesis import strategies as st

from morag.storage.fetching.naming import MAX_NAME_LENGTH, Headers, filename, harmless
from morag.storage.sizes import in_words


def headers(**fields: str) -> Headers:
    return Headers([(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()])


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ("attachment; filename=a.pdf", "a.pdf"),
        ('attachment; filename="two words.pdf"', "two words.pdf"),
        ("attachment; filename*=UTF-8''%C3%BC.pdf", "ü.pdf"),
        ('attachment; filename="ü.pdf"', "ü.pdf"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="C:\\\\temp\\\\a.doc"', "a.doc"),
        ('attachment; filename=".bashrc"', "bashrc"),
        ("attachment; filename*=UTF-8''a%00b%0A.txt", "ab.txt"),
        ("attachment; filename*=UTF-8''invoice%E2%80%AEfdp.exe", "invoicefdp.exe"),
        ('attachment; filename=".."', "page.html"),
        ("attachment", "page.html"),
        ("attachment; filename*=nonsense''%ff", "\ufffd"),
    ],
)
def test_suggested_name_is_made_harmless(disposition: str, name: str) -> None:
    got = filename(headers(Content_Disposition=disposition), "/docs/page.html?x=/y")
    assert got == name or (name == "\ufffd" and got)


@pytest.mark.parametrize(
    ("path", "media_type", "name"),
    [
        ("/a/b.pdf", "text/html", "b.pdf"),
        ("/a/b%20c.pdf?d=e", "text/html", "b c.pdf"),
        ("/a/b/", "text/html", "b"),
        ("/", "text/html; charset=utf-8", "index.html"),
        ("/", "nonsense", "index"),
        ("/a%2f..%2fb.txt", "text/plain", "b.txt"),
    ],
)
def test_without_a_suggestion_the_url_names_the_file(path: str, media_type: str, name: str) -> None:
    assert filename(headers(content_type=media_type), path) == name


@given(st.text())
def test_name_is_never_a_path(text: str) -> None:
    name = harmless(text)
    assert not set(name) & set("/\\\0\n\r")
    assert not name.startswith(".")
    assert len(name) <= MAX_NAME_LENGTH


@given(st.binary(max_size=200))
def test_any_disposition_can_be_read(value: bytes) -> None:
    assert filename(Headers([(b"Content-Disposition", value)]), "/a.txt")


def test_long_name_keeps_its_suffix() -> None:
    assert harmless("x" * 300 + ".pdf") == "x" * 146 + ".pdf"


@pytest.mark.parametrize(
    ("sent", "read"), [("Text/HTML; charset=x", "text/html"), ("", None), ("text", None), ("a/b c", None)]
)
def test_media_type_is_read_without_parameters(sent: str, read: str | None) -> None:
    assert headers(content_type=sent).media_type == read


@pytest.mark.parametrize(("sent", "read"), [("12", 12), ("-1", None), ("²", None), ("9" * 30, None), ("", None)])
def test_only_a_plain_length_counts(sent: str, read: int | None) -> None:
    assert headers(content_length=sent).length == read


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (3_440_000, "3.4 MB"),
        (999_960, "1.0 MB"),
        (10**15, "1000.0 TB"),
    ],
)
def test_sizes_are_told_in_decimal_units(size_bytes: int, words: str) -> None:
    assert in_words(size_bytes) == words
