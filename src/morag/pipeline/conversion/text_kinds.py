"""Tells one kind of text from another: HTML, XML, JSON, mail, CSV, Markdown … by its beginning and its name.

Used by detection in the server process: bounded, cheap, and nothing is parsed.
"""

import json
import re

from morag.pipeline.conversion.formats import BY_EXTENSION, BY_MEDIA_TYPE

_HTML = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL)
_HTML_PART = re.compile(r"\s*<(?:head|body|title|meta|article|main|div|section|table|h[1-6]|p|ul|ol)\b", re.IGNORECASE)
_XML = re.compile(r"\s*<(?:\?xml\b|!DOCTYPE\b|!--|[A-Za-z_][\w.:-]*(?:\s+[\w.:-]+=[\"']|\s*/?>))")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]*:(?:[ \t].*)?")
_MAIL = frozenset(
    {"from", "to", "subject", "date", "received", "mime-version", "message-id", "return-path", "delivered-to", "cc"}
)
_TEXTUAL = frozenset(
    {
        "application/json",
        "application/x-ndjson",
        "application/xml",
        "application/x-ipynb+json",
        "application/x-latex",
        "application/x-subrip",
        "message/rfc822",
    }
)
_MARKS = (
    (re.compile(r"\s*\{\\rtf"), "application/rtf"),
    (re.compile(r"WEBVTT\b"), "text/vtt"),
    (re.compile(r"\s*\d{1,5}[ \t]*\r?\n\d{1,2}:\d{2}:\d{2},\d{3} --> \d"), "application/x-subrip"),
)


def text_of(head: bytes) -> str | None:
    """The beginning of a file as text; None if it is not text."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if head.startswith(mark):
            return head[len(mark) :].decode(encoding, errors="replace")
    if b"\0" in head:
        wide = _utf16(head)
        return _without_zeros(head) if wide is None else wide
    try:
        return head.decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":  # the head was cut within a character
            return head[: error.start].decode()
    control = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    return head.decode("latin-1") if control * 200 <= len(head) else None


def _without_zeros(head: bytes) -> str | None:
    """Text with zeros strewn in, as broken programs write it: nothing else in it may be odd."""
    if head.count(0) * 4 > len(head):
        return None
    try:
        text = head.replace(b"\0", b"").decode()
    except UnicodeDecodeError:
        return None
    return None if any(ord(char) < 32 and char not in "\t\n\r\f" for char in text) else text


def _utf16(head: bytes) -> str | None:
    """UTF-16 without a mark: mostly Latin text has a zero in every other byte."""
    half = max(len(head) // 2, 1)
    for encoding, odd in (("utf-16-le", 1), ("utf-16-be", 0)):
        zeros, others = head[odd::2].count(0), head[1 - odd :: 2].count(0)
        if zeros * 2 > half and not others:
            text = head.decode(encoding, errors="ignore")
            return None if any(ord(char) < 32 and char not in "\t\n\r\f" for char in text) else text
    return None


def kind_of(text: str, extension: str, media_type: str | None) -> str:
    """The media type of a text that begins so, in a file of that extension, sent as `media_type`."""
    named = BY_EXTENSION.get(extension)
    by_name = named.media_type if named is not None else None
    looks = _by_look(text, by_name)
    if looks is not None:
        return looks
    if by_name is not None and (by_name.startswith("text/") or by_name in _TEXTUAL):
        return by_name
    told = BY_MEDIA_TYPE.get(media_type or "")
    if told is not None and (told.media_type.startswith("text/") or told.media_type in _TEXTUAL):
        return told.media_type
    return _by_content(text)


def _by_look(text: str, by_name: str | None) -> str | None:
    """Kinds whose beginning leaves no doubt, whatever the name says."""
    marked = next((media_type for mark, media_type in _MARKS if mark.match(text)), None)
    if marked is not None:
        return marked
    if by_name in {"text/markdown", "text/x-rst", "text/x-org", "application/x-latex"}:
        return by_name
    if _HTML.match(text):
        return "text/html"
    if by_name not in {"text/html", "application/xml"} and is_mail(text):
        return "message/rfc822"
    if by_name in {None, "text/plain", "application/json"} and '"nbformat"' in text and text.lstrip().startswith("{"):
        return "application/x-ipynb+json"
    return None


def is_mail(text: str) -> bool:
    """Whether the text begins with a block of headers, two of them those of mail."""
    names: set[str] = set()
    for line in text.splitlines()[:60]:
        if not line:
            break
        if line[0] in " \t" and names:
            continue
        if not _HEADER.fullmatch(line):
            return False
        names.add(line.partition(":")[0].lower())
    return len(names & _MAIL) >= 2


def _by_content(text: str) -> str:
    """Without a telling name: JSON and XML by their look, everything else is plain text."""
    if _HTML_PART.match(text):
        return "text/html"
    if _XML.match(text):
        return "application/xml"
    if text.lstrip()[:1] in {"{", "["} and _is_json(text):
        return "application/json"
    return "text/plain"


def _is_json(text: str) -> bool:
    """Whether the text is JSON, or the beginning of some."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.pos >= len(text) - 1 or error.msg.startswith("Unterminated string")
    except RecursionError:
        return True
    return True
