"""E-mail: the headers people look at, the body, and what is attached, converted in its turn."""

import email
import email.policy
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage, MIMEPart

from morag.domain.content import Document
from morag.domain.errors import ConversionError
from morag.domain.json import JsonObject
from morag.pipeline.conversion.converters.document.nested import convert_within
from morag.pipeline.conversion.converters.html import tree_of, whole_page
from morag.pipeline.conversion.markdown import MarkdownBuilder, demote, escape, one_line
from morag.pipeline.conversion.sources import broken, file_of
from morag.pipeline.ports import ConversionInput, ReportProgress

_HEADERS = ("From", "To", "Cc", "Date", "Subject")
_MAX_ATTACHMENTS = 100
_STUB = 4
"""How many times longer than the plain text the HTML must be for the plain text to count as a stub."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attachment:
    name: str
    media_type: str
    content: bytes


class MailConverter:
    """RFC 822 mail to Markdown."""

    def convert(self, given: ConversionInput, report: ReportProgress) -> Document:
        """The document. Raises ConversionError: `broken_file`."""
        report(0.05, "processing", "reading the mail")
        with file_of(given).open("rb") as stream:
            message = email.message_from_binary_file(stream, policy=email.policy.default)
        headers = _headers(message)
        if not headers:
            raise broken("The file has none of the headers of a mail.")
        builder = MarkdownBuilder()
        subject = headers.pop("Subject", None)
        builder.heading(1, escape(subject or "(no subject)"))
        builder.block("\n".join(f"- **{name}:** {escape(value)}" for name, value in headers.items()))
        _add_body(builder, message)
        names = _add_attachments(builder, message, given, report)
        metadata: JsonObject = {name.lower(): value for name, value in headers.items()}
        if names:
            metadata["attachments"] = [*names]
        return builder.document(
            content_type=given.detected.content_type,
            media_type=given.detected.media_type,
            title=subject,
            metadata=metadata,
        )


def _headers(message: EmailMessage) -> dict[str, str]:
    found = ((name, message.get(name)) for name in _HEADERS)
    return {name: text for name, value in found if value is not None and (text := one_line(str(value)))}


def _add_body(builder: MarkdownBuilder, message: EmailMessage) -> None:
    """The plain text, unless the HTML says a good deal more or has a table."""
    plain_part, html_part = message.get_body(("plain",)), message.get_body(("html",))
    words = _text(plain_part).strip() if plain_part is not None else ""
    page = _text(html_part) if html_part is not None else ""
    markdown = whole_page(tree_of(page, None)) if page.strip() else ""
    if markdown and (not words or len(markdown) > _STUB * len(words) or "\n| --- " in markdown):
        builder.markdown(demote(markdown, 1))
    else:
        builder.block(escape(words))


def _text(part: MIMEPart) -> str:
    try:
        content = part.get_content()
    except (LookupError, UnicodeError):
        content = None
    if isinstance(content, str):
        return content.replace("\r\n", "\n")
    payload = part.get_payload(decode=True)
    return payload.decode("latin-1") if isinstance(payload, bytes) else ""


def _add_attachments(
    builder: MarkdownBuilder, message: EmailMessage, given: ConversionInput, report: ReportProgress
) -> list[str]:
    found = list(_attachments(message))
    for at, attachment in enumerate(found):
        report((at + 1) / (len(found) + 1), "processing", f"attachment {at + 1} of {len(found)}")
        builder.heading(2, f"Attachment: {escape(attachment.name)}")
        try:
            document = convert_within(
                given, attachment.content, at=at, name=attachment.name, media_type=attachment.media_type
            )
        except ConversionError as error:
            builder.block(f"*Not converted: {escape(error.message)}*")
        else:
            builder.include(document, under=2)
    return [attachment.name for attachment in found]


def _attachments(message: EmailMessage) -> Iterator[_Attachment]:
    for at, part in enumerate(message.iter_attachments()):
        if at >= _MAX_ATTACHMENTS:
            return
        name = one_line(part.get_filename() or "")[:200]
        if part.get_content_type() == "message/rfc822":
            inner = part.get_payload(0) if part.is_multipart() else part
            content = inner.as_bytes() if isinstance(inner, EmailMessage) else b""
            yield _Attachment(name=name or "mail.eml", media_type="message/rfc822", content=content)
            continue
        if part.get_content_disposition() == "inline" and not name:
            continue
        payload = part.get_payload(decode=True)
        yield _Attachment(
            name=name or "unnamed",
            media_type=part.get_content_type(),
            content=payload if isinstance(payload, bytes) else b"",
        )
