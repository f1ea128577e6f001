"""Web pages: the main text without navigation, banners and footers, or the whole page on request."""

import re
from dataclasses import dataclass

from lxml.html import HtmlElement

from morag.domain.content import ContentType, Document
from morag.domain.json import JsonObject
from morag.pipeline.conversion.converters.html import is_too_deep, text_of_page, tree_of, whole_page, words_of
from morag.pipeline.conversion.markdown import MarkdownBuilder, one_line
from morag.pipeline.conversion.sources import file_of
from morag.pipeline.ports import ConversionInput, ReportProgress

_STRUCTURE = re.compile(r"^(?:#{2,6} |\||\s*[-*] |\s*\d+\. |```)", re.MULTILINE)
_LEAST_MAIN, _MOST_MAIN = 40, 3_000
"""Characters of a main element that may stand in for the extraction; on longer pages that is seldom wrong."""
_TOO_LITTLE = 250
"""Characters of main text under which the extraction probably missed it, if the page has twice as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    markdown: str
    title: str | None
    metadata: JsonObject


_NOTHING = _Found(markdown="", title=None, metadata={})


class WebConverter:
    """HTML to Markdown. Nothing the page links to is fetched."""

    def convert(self, given: ConversionInput, report: ReportProgress) -> Document:
        """The document. Raises ConversionError: `broken_file`."""
        report(0.1, "processing", "reading the page")
        page = text_of_page(file_of(given).read_bytes())
        tree = tree_of(page, given.url)
        is_document = given.detected.content_type is ContentType.DOCUMENT
        found = _NOTHING if is_too_deep(tree) else _main_text(tree, given.url)
        report(0.6, "processing", "writing Markdown")
        part = _flattened(found.markdown, tree)
        if given.options.get("whole_page", is_document) or _is_too_little(found.markdown, tree):
            markdown, extraction = whole_page(tree), "whole_page"
        elif part is not None:
            markdown, extraction = whole_page(part), "main_element"
        else:
            markdown, extraction = _under_title(found, tree), "main_text"
        builder = MarkdownBuilder()
        builder.markdown(markdown or words_of(page))
        return builder.document(
            content_type=given.detected.content_type,
            media_type=given.detected.media_type,
            title=found.title,
            metadata={**found.metadata, "extraction": extraction},
        )


def _main_text(tree: HtmlElement, url: str | None) -> _Found:
    from trafilatura import bare_extraction, extract  # noqa: PLC0415 - 0.3 s that other formats need not pay

    markdown = extract(
        tree,
        url=url,
        output_format="markdown",
        include_links=True,
        include_formatting=True,
        include_tables=True,
        include_comments=False,
    )
    about = bare_extraction(tree, url=url, with_metadata=True, include_comments=False)
    title = getattr(about, "title", None)
    told = {
        name: str(value)
        for name in ("author", "date", "sitename", "description", "language")
        if (value := getattr(about, name, None))
    }
    return _Found(markdown=markdown or "", title=one_line(title) if title else None, metadata={**told})


def _is_too_little(markdown: str, tree: HtmlElement) -> bool:
    if len(markdown) >= _TOO_LITTLE:
        return False
    seen = sum(len(text.strip()) for text in tree.itertext())
    return seen > 2 * len(markdown)


def _flattened(markdown: str, tree: HtmlElement) -> HtmlElement | None:
    """The page's own main element, if it is short and has tables, lists or code of which the extraction kept nothing.

    Extraction of short pages ends in bare words, those of menus among them.
    """
    if _STRUCTURE.search(markdown):
        return None
    marked: list[HtmlElement] = list(tree.iter("main")) or [
        element for element in tree.iter("div", "section", "article") if element.get("role") == "main"
    ]
    if len(marked) != 1 or next(marked[0].iter("pre", "table", "ul", "ol", "h2"), None) is None:
        return None
    for inner in list(marked[0].iter("nav", "aside", "footer", "form")):
        inner.drop_tree()
    return marked[0] if _LEAST_MAIN <= len(one_line(marked[0].text_content())) <= _MOST_MAIN else None


def _under_title(found: _Found, tree: HtmlElement) -> str:
    """The main text under the page's own headline, which extraction often leaves out."""
    headline = next((one_line(heading.text_content()) for heading in tree.iter("h1")), "")
    if not headline or headline in found.markdown[: len(headline) + 500]:
        return found.markdown
    return f"# {headline}\n\n{found.markdown}"
