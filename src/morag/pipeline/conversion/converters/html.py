"""HTML as a whole to Markdown; for pages, and for mail bodies."""

import re
from html import unescape

from lxml import etree
from lxml.html import HtmlElement, HTMLParser, document_fromstring

from morag.pipeline.conversion.encoding import decode
from morag.pipeline.conversion.markdown import escape, one_line
from morag.pipeline.conversion.sources import broken

_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset=[\"']?\s*([\w.:-]{2,40})", re.IGNORECASE)
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_UNSEEN = re.compile(r"<!--.*?-->|<(script|style|template)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_TAGS = re.compile(r"<[^<>]{1,2000}>")
_BLANKS = re.compile(r"\n{3,}")
_MAX_DEPTH = 250
"""Elements nested deeper than this are no page that a person wrote, and readers that recurse crash on them."""


def text_of_page(raw: bytes) -> str:
    """A page's source as text: by its mark, by the charset it tells of itself, else by guess."""
    told = _CHARSET.search(raw[:4096])
    if told is not None and not raw.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        try:
            return raw.decode(told[1].decode("ascii"), errors="strict")
        except (LookupError, UnicodeError):
            pass
    return decode(raw)[0]


def tree_of(page: str, url: str | None) -> HtmlElement:
    """The page as a tree, its links absolute. Raises ConversionError: `broken_file`."""
    try:
        parser = HTMLParser(huge_tree=True)
        tree = document_fromstring(_DECLARATION.sub("", page).replace("\0", ""), parser=parser)
    except (etree.ParserError, ValueError) as error:
        raise broken("The page holds nothing that can be read as HTML.") from error
    if url is not None:
        tree.make_links_absolute(url, handle_failures="ignore")
    return tree


def words_of(page: str) -> str:
    """The words of a page's source that no reader gets through, as when it is nested 10,000 deep."""
    text = _TAGS.sub("\n", _UNSEEN.sub("\n", page))
    lines = (one_line(line) for line in unescape(text).splitlines())
    return escape("\n\n".join(line for line in lines if line))


def bare_text(tree: HtmlElement) -> str:
    """The words of a page, and nothing of its structure."""
    etree.strip_elements(tree, "script", "style", "noscript", "template", etree.Comment, with_tail=False)
    lines = (one_line(text) for text in tree.itertext())
    return escape("\n\n".join(line for line in lines if line))


def whole_page(tree: HtmlElement) -> str:
    """All that a reader could see of the page, as Markdown; of a page nested beyond reason the bare words."""
    if is_too_deep(tree):
        return bare_text(tree)
    from html_to_markdown import ConversionOptions, convert  # noqa: PLC0415 - 20 ms that other formats need not pay
    from html_to_markdown.options import PreprocessingOptions  # noqa: PLC0415

    options = ConversionOptions(
        bullets="-",
        autolinks=False,
        compact_tables=True,
        br_in_tables=True,
        extract_metadata=False,
        newline_style="backslash",
        skip_images=False,
        inline_data_media="alt_text_only",
        preprocessing=PreprocessingOptions(enabled=True, preset="minimal", remove_navigation=False, remove_forms=True),
    )
    source = etree.tostring(tree, encoding="unicode", method="html")
    return _BLANKS.sub("\n\n", convert(source, options).content or "").strip()


def is_too_deep(tree: HtmlElement) -> bool:
    """Whether converters that recurse had better not see the tree."""
    depth = 0
    for event, _ in etree.iterwalk(tree, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if depth > _MAX_DEPTH:
            return True
    return False
