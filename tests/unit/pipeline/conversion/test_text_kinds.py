import pytest

from morag.pipeline.conversion.text_kinds import is_mail, kind_of, text_of


@pytest.mark.parametrize(
    ("text", "extension", "told", "kind"),
    [
        ("<!DOCTYPE html><html><body>x", "txt", None, "text/html"),
        ("<!-- saved -->\n<HTML>", "", None, "text/html"),
        ('<?xml version="1.0"?>\n<html xmlns="x">', "xhtml", None, "text/html"),
        ('<?xml version="1.0"?>\n<feed>', "", None, "application/xml"),
        ("<p>Hello", "", None, "text/html"),
        ('{"a": [1, 2', "", None, "application/json"),
        ('{"cells": [], "nbformat": 4}', "ipynb", None, "application/x-ipynb+json"),
        ("a,b\n1,2\n", "csv", None, "text/csv"),
        ("a,b\n1,2\n", "", "text/csv", "text/csv"),
        ("# Title\n\nText", "md", None, "text/markdown"),
        ("<div>in Markdown</div>", "md", None, "text/markdown"),
        ("From: a@b.c\nSubject: Hi\n\nText", "", None, "message/rfc822"),
        ("Note: this\nis no mail", "", None, "text/plain"),
        ("{not json", "", None, "text/plain"),
        ("{\\rtf1\\ansi", "doc", None, "application/rtf"),
        ("def f(): pass", "py", "text/x-python", "text/plain"),
    ],
)
def test_kind_of_text_is_told_by_its_look_then_its_name(text: str, extension: str, told: str | None, kind: str) -> None:
    assert kind_of(text, extension, told) == kind


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\xef\xbb\xbfabc", "abc"),
        ("äöü".encode("utf-16"), "äöü"),
        ("plain words".encode("utf-16-be"), "plain words"),
        ("Grüße".encode("latin-1"), "Grüße"),
        ("zé".encode()[:-1], "z"),
    ],
)
def test_text_is_told_in_any_common_encoding(raw: bytes, text: str) -> None:
    assert text_of(raw) == text


@pytest.mark.parametrize("raw", [b"\x00\x01\x02\x03\xff\xfe", bytes(range(256)) * 4])
def test_binary_is_no_text(raw: bytes) -> None:
    assert text_of(raw) is None


def test_one_mail_header_is_not_enough() -> None:
    assert not is_mail("Subject: only\n\ntext")
