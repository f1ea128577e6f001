"""PPTX: each slide under its title, with bullets, tables, charts' figures and the speaker's notes."""

from morag.domain.content import Document, Place
from morag.pipeline.conversion.converters.document.ooxml import Element, P, Package, R
from morag.pipeline.conversion.converters.document.slide_shapes import Layout, in_reading_order, is_title, placeholder
from morag.pipeline.conversion.converters.document.slide_text import (
    chart_table,
    diagram_list,
    paragraphs,
    table_of,
    title_text,
)
from morag.pipeline.conversion.markdown import MarkdownBuilder
from morag.pipeline.conversion.sources import archive_of
from morag.pipeline.ports import ConversionInput, ReportProgress


class SlidesConverter:
    """PowerPoint presentations to Markdown."""

    def convert(self, given: ConversionInput, report: ReportProgress) -> Document:
        """The document. Raises ConversionError: `broken_file`, `encrypted`, `zip_bomb`."""
        builder = MarkdownBuilder()
        with Package(archive_of(given)) as package:
            names = _slide_names(package)
            for number, name in enumerate(names, start=1):
                report((number - 1) / len(names), "processing", f"slide {number} of {len(names)}")
                _add_slide(builder, package, name, number)
            properties = package.properties()
        title = properties.get("title")
        generic = {"", "powerpoint presentation", "presentation", "slide 1"}
        return builder.document(
            content_type=given.detected.content_type,
            media_type=given.detected.media_type,
            title=title if isinstance(title, str) and title.lower() not in generic else None,
            metadata={**properties, "slides": len(names)},
        )


def _slide_names(package: Package) -> list[str]:
    """The slides' parts in the order they are shown."""
    main = package.main
    relations = package.relations(main)
    ids = (entry.get(f"{R}id", "") for entry in package.required(main).iter(f"{P}sldId"))
    return [relations[slide_id].target for slide_id in ids if slide_id in relations]


def _add_slide(builder: MarkdownBuilder, package: Package, name: str, number: int) -> None:
    place = Place(slide=number)
    slide = package.required(name)
    layout = Layout(package.related(name, "slideLayout"))
    shapes = in_reading_order(slide, layout)
    title = next((text for shape in shapes if is_title(shape) and (text := title_text(shape))), None)
    builder.heading(1 if title and builder.is_empty else 2, title or f"Slide {number}", place)
    for shape in shapes:
        if not is_title(shape) or title is None:
            builder.block(_shape(package, name, shape, layout), place)
    notes = package.related(name, "notesSlide")
    bodies = [shape for shape in notes.iter(f"{P}sp") if placeholder(shape)[0] == "body"] if notes is not None else []
    text = "\n\n".join(filter(None, (paragraphs(shape, is_bulleted=False) for shape in bodies)))
    if text:
        builder.block("**Notes:**", place)
        builder.block(text, place)


def _shape(package: Package, slide: str, shape: Element, layout: Layout) -> str:
    if shape.tag != f"{P}graphicFrame":
        return paragraphs(shape, is_bulleted=layout.is_bulleted(shape))
    if text := table_of(shape):
        return text
    relations = package.relations(slide)
    for element in shape.iter():
        relation = relations.get(element.get(f"{R}id") or element.get(f"{R}dm") or "")
        if relation is None or relation.is_external:
            continue
        part = package.xml(relation.target)
        if part is not None and relation.kind == "chart":
            return chart_table(part)
        if part is not None and relation.kind == "diagramData":
            return diagram_list(part)
    return ""
