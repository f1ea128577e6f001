"""Files as programs write them, through detection and the registry, to the Markdown a person reads."""

import datetime as dt
import io
import json
import zipfile
from collections.abc import Callable
from email.message import EmailMessage
from importlib import import_module
from pathlib import Path
from typing import Any

import docx
import openpyxl
import pptx
import pytest
from PIL import Image, ImageDraw, ImageFont
from pptx.util import Inches
from reportlab.lib import colors
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, PageBreak, Paragraph, SimpleDocTemplate, Table

from morag.domain.content import ContentType, Document, Place
from morag.domain.errors import ConversionError
from morag.domain.json import JsonObject
from morag.pipeline.conversion.detect import check_source_type, detect
from morag.pipeline.conversion.registry import convert
from morag.pipeline.ports import ConversionInput

Convert = Callable[..., Document]
PROSE = "The committee met twice and took note of what the harbour master had to say about the tide. " * 3


@pytest.fixture
def converted(tmp_path: Path) -> Convert:
    """Converts bytes as an upload under a name; progress is kept in `converted.told`."""

    def run(
        content: bytes,
        filename: str,
        *,
        url: str | None = None,
        options: JsonObject | None = None,
        told: list[tuple[float, str]] | None = None,
        wanted: ContentType | None = None,
    ) -> Document:
        path = tmp_path / "input"
        path.write_bytes(content)
        work_dir = tmp_path / "work"
        work_dir.mkdir(exist_ok=True)
        detected = detect(path, filename=filename)
        if wanted is not None:
            detected = check_source_type(detected, wanted)
        given = ConversionInput(
            path=path, filename=filename, detected=detected, url=url, options=options or {}, work_dir=work_dir
        )

        def report(fraction: float, _stage: str, message: str) -> None:
            if told is not None:
                told.append((fraction, message))

        document = convert(given, report)
        check_segments(document)
        return document

    return run


def check_segments(document: Document) -> None:
    """Segments stand in order, do not overlap, and leave no text out."""
    end = 0
    for segment in document.segments:
        assert segment.text_start == end
        assert segment.text_end > segment.text_start
        end = segment.text_end
    assert document.markdown[end:].strip() == ""


def place_of(document: Document, text: str) -> Place:
    at = document.markdown.index(text)
    return next(one.place for one in document.segments if one.text_start <= at < one.text_end)


def saved(thing: Any) -> bytes:
    stream = io.BytesIO()
    thing.save(stream)
    return stream.getvalue()


def pdf(**options: Any) -> bytes:
    stream, styles = io.BytesIO(), getSampleStyleSheet()
    grid = Table(
        [["Region", "2023", "2024"], ["North", "1,200", "1,350"], ["South", "900", "980"]],
        style=[("GRID", (0, 0), (-1, -1), 0.5, colors.black)],
    )
    story: list[Flowable] = [
        Paragraph("Annual Report", styles["Title"]),
        Paragraph(PROSE, styles["BodyText"]),
        Paragraph("Results", styles["Heading2"]),
        grid,
        PageBreak(),
        Paragraph("Outlook", styles["Heading2"]),
        Paragraph(PROSE, styles["BodyText"]),
    ]
    SimpleDocTemplate(stream, title="Report 2024", author="The Board", **options).build(story)
    return stream.getvalue()


def test_pdf_keeps_headings_tables_and_pages(converted: Convert) -> None:
    told: list[tuple[float, str]] = []
    document = converted(pdf(), "report.pdf", told=told)
    assert document.title == "Report 2024"
    assert document.metadata["author"] == "The Board"
    assert document.metadata["pages"] == 2
    assert document.markdown.startswith(
        f"# Annual Report\n\n{PROSE.strip()}\n\n## Results\n\n| Region | 2023 | 2024 |\n"
    )
    assert "| North | 1,200 | 1,350 |" in document.markdown
    assert place_of(document, "| North").page == 1
    assert place_of(document, "## Outlook").page == 2
    assert place_of(document, "## Outlook").heading_path == ("Annual Report", "Outlook")
    assert (0.5, "page 2 of 2") in told


def test_pdf_named_txt_is_told_by_its_bytes(converted: Convert) -> None:
    assert converted(pdf(), "notes.txt").media_type == "application/pdf"


def test_rotated_page_is_read_upright(converted: Convert) -> None:
    stream = io.BytesIO()
    canvas = Canvas(stream)
    canvas.saveState()
    canvas.translate(300, 300)
    canvas.rotate(90)
    canvas.drawString(0, 0, "Read me upright please,")
    canvas.drawString(0, -14, "line after line.")
    canvas.restoreState()
    canvas.setPageRotation(90)
    canvas.showPage()
    canvas.save()
    assert converted(stream.getvalue(), "turned.pdf").markdown == "Read me upright please, line after line.\n"


def test_encrypted_pdf_opens_with_its_password_only(converted: Convert) -> None:
    locked = pdf(encrypt=StandardEncryption("open sesame"))
    with pytest.raises(ConversionError) as refused:
        converted(locked, "locked.pdf")
    assert refused.value.code == "encrypted"
    with pytest.raises(ConversionError) as wrong:
        converted(locked, "locked.pdf", options={"password": "guess"})
    assert wrong.value.code == "encrypted"
    assert "Annual Report" in converted(locked, "locked.pdf", options={"password": "open sesame"}).markdown


def test_truncated_pdf_is_broken_or_still_read(converted: Convert) -> None:
    whole = pdf()
    with pytest.raises(ConversionError) as refused:
        converted(whole[:300], "cut.pdf")
    assert refused.value.code == "broken_file"
    assert refused.value.hint


def word() -> bytes:
    document = docx.Document()
    document.core_properties.title = "Harbour rules"
    document.add_heading("Harbour rules", 0)
    document.add_heading("Mooring", 1)
    paragraph = document.add_paragraph("Ropes must be ")
    paragraph.add_run("strong").bold = True
    paragraph.add_run(" and ")
    paragraph.add_run("dry").italic = True
    for text, style in [("Bow", "List Bullet"), ("Line", "List Bullet 2"), ("First", "List Number")]:
        document.add_paragraph(text, style=style)
    document.add_paragraph("Second", style="List Number")
    table = document.add_table(rows=2, cols=2)
    for at, text in enumerate(["Berth", "Fee", "North|East", "12"]):
        table.cell(at // 2, at % 2).text = text
    document.add_comment(paragraph.runs, text="Says who?", author="Ann")
    return saved(document)


def test_word_keeps_structure(converted: Convert) -> None:
    document = converted(word(), "rules.docx")
    assert document.title == "Harbour rules"
    assert document.markdown == (
        "# Harbour rules\n\n# Mooring\n\nRopes must be **strong** and *dry*\n\n"
        "- Bow\n  - Line\n\n1. First\n2. Second\n\n"
        "| Berth | Fee |\n| --- | --- |\n| North\\|East | 12 |\n\n## Comments\n\n- **Ann:** Says who?\n"
    )
    assert place_of(document, "| Berth").heading_path == ("Mooring",)


def test_word_file_that_inflates_is_refused_before_it_is_unpacked(converted: Convert) -> None:
    stream = io.BytesIO(word())
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("word/bomb.xml", "w") as bomb:
        for _ in range(64):
            bomb.write(bytes(1024**2))
    with pytest.raises(ConversionError) as refused:
        converted(stream.getvalue(), "bomb.docx")
    assert refused.value.code == "zip_bomb"


def test_cut_off_word_file_is_broken(converted: Convert) -> None:
    with pytest.raises(ConversionError) as refused:
        converted(word()[:-400], "cut.docx")
    assert refused.value.code == "broken_file"


def slides() -> bytes:
    deck: Any = pptx.Presentation()  # its types say less than the default template holds
    first = deck.slides.add_slide(deck.slide_layouts[1])
    first.shapes.title.text = "Goals"
    body = first.placeholders[1].text_frame
    body.text = "Grow"
    deeper = body.add_paragraph()
    deeper.text, deeper.level = "in the north", 1
    first.notes_slide.notes_text_frame.text = "Speak slowly."
    second = deck.slides.add_slide(deck.slide_layouts[5])
    second.shapes.title.text = "Figures"
    table = second.shapes.add_table(2, 2, Inches(1), Inches(2), Inches(4), Inches(1)).table
    for at, text in enumerate(["Year", "Ships", "2024", "31"]):
        table.cell(at // 2, at % 2).text = text
    return saved(deck)


def test_slides_keep_bullets_tables_and_notes(converted: Convert) -> None:
    document = converted(slides(), "deck.pptx")
    assert document.markdown == (
        "# Goals\n\n- Grow\n  - in the north\n\n**Notes:**\n\nSpeak slowly.\n\n"
        "## Figures\n\n| Year | Ships |\n| --- | --- |\n| 2024 | 31 |\n"
    )
    assert place_of(document, "Speak slowly").slide == 1
    assert place_of(document, "| Year").slide == 2
    assert document.metadata["slides"] == 2


def book() -> bytes:
    workbook = openpyxl.Workbook()
    sheet = workbook.create_sheet("Fees", 0)
    sheet.append(["Fees of the harbour"])
    sheet.append([])
    sheet.append(["Month", "Amount", "Share", "Day"])
    sheet.append(["Jan", 10.5, 0.25, dt.date(2024, 1, 31)])
    sheet.append(["Feb", 0.1 + 0.2, 0.5, dt.datetime(2024, 2, 1, 12, 30)])  # noqa: DTZ001 - Excel knows no zones
    sheet.append(["Sum", "=SUM(B4:B5)"])
    sheet["C4"].number_format = "0%"
    return saved(workbook)


def test_sheets_show_dates_percentages_and_formulas(converted: Convert) -> None:
    document = converted(book(), "fees.xlsx")
    assert document.markdown.startswith("## Fees\n\nFees of the harbour\n\n| Month | Amount | Share | Day |\n")
    assert "| Jan | 10.5 | 25% | 2024-01-31 |" in document.markdown
    assert "| Feb | 0.3 | 0.5 | 2024-02-01 12:30:00 |" in document.markdown
    assert "| Sum | =SUM(B4:B5) |" in document.markdown
    assert place_of(document, "| Jan").sheet == "Fees"


def test_mail_converts_what_is_attached(converted: Convert) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "ann@example.org", "bob@example.org", "The fees"
    message.set_content("Dear Bob,\n\nsee below.")
    message.add_attachment(book(), maintype="application", subtype="octet-stream", filename="fees.xlsx")
    message.add_attachment(b"\0\1\2", maintype="application", subtype="octet-stream", filename="odd.bin")
    document = converted(message.as_bytes(), "mail.eml")
    assert document.title == "The fees"
    assert document.metadata["attachments"] == ["fees.xlsx", "odd.bin"]
    assert document.markdown.startswith(
        "# The fees\n\n- **From:** ann@example.org\n- **To:** bob@example.org\n\nDear Bob,"
    )
    assert "## Attachment: fees.xlsx\n\n#### Fees\n" in document.markdown
    assert "## Attachment: odd.bin\n\n*Not converted: " in document.markdown
    assert place_of(document, "| Jan").sheet == "Fees"


def test_html_mail_becomes_markdown(converted: Convert) -> None:
    message = EmailMessage()
    message["From"], message["Subject"] = "ann@example.org", "Hi"
    message.set_content("<p>See <a href='https://example.org'>this</a>.</p>", subtype="html")
    assert "See [this](https://example.org)." in converted(message.as_bytes(), "mail.eml").markdown


def test_mails_within_mails_are_opened_to_a_depth(converted: Convert) -> None:
    message = EmailMessage()
    message["From"], message["Subject"] = "a@example.org", "level 0"
    message.set_content("innermost")
    for level in range(1, 8):
        outer = EmailMessage()
        outer["From"], outer["Subject"] = "a@example.org", f"level {level}"
        outer.set_content(f"text {level}")
        outer.add_attachment(message)
        message = outer
    markdown = converted(message.as_bytes(), "nested.eml").markdown
    assert "text 7" in markdown
    assert "too deep" in markdown
    assert "innermost" not in markdown


PAGE = f"""<html><head><title>Tides - The Site</title></head>
<body><nav><a href="/">Home</a> <a href="/b">Boats</a></nav>
<article><h1>Tides</h1><p>{PROSE}<a href="../moon.html">The moon</a> is to blame.</p><h2>Heights</h2>
<table><tr><th>Day</th><th>Metres</th></tr><tr><td>Monday</td><td>4.2</td></tr></table><p>{PROSE}</p></article>
<footer>All rights reserved by nobody</footer></body></html>""".encode()


def test_page_is_its_main_text_with_absolute_links(converted: Convert) -> None:
    document = converted(PAGE, "tides.html", url="https://example.org/sea/tides.html")
    assert document.content_type is ContentType.WEB
    assert document.markdown.startswith("# Tides\n\n")
    assert "[The moon](https://example.org/moon.html)" in document.markdown
    assert "Boats" not in document.markdown
    assert "rights reserved" not in document.markdown
    assert place_of(document, "Monday").heading_path == ("Tides", "Heights")


def test_whole_page_keeps_everything(converted: Convert) -> None:
    markdown = converted(PAGE, "tides.html", options={"whole_page": True}).markdown
    assert "Boats" in markdown
    assert "rights reserved" in markdown


def test_page_asked_for_as_a_document_is_a_document(converted: Convert) -> None:
    document = converted(PAGE, "tides.html", wanted=ContentType.DOCUMENT)
    assert document.content_type is ContentType.DOCUMENT


def test_page_nested_beyond_reason_gives_its_words(converted: Convert) -> None:
    deep = b"<html><p>shallow</p>" + b"<div>" * 1_000 + b"<p>deep down</p>"
    assert converted(deep, "deep.html").markdown == "shallow\n\ndeep down\n"
    abyss = b"<html><p>shallow</p>" + b"<div>" * 100_000
    assert converted(abyss, "abyss.html").markdown == "shallow\n"


def test_csv_with_semicolons_and_windows_letters(converted: Convert) -> None:
    document = converted('Straße;Nr\n"Am ""Kai""";3\n'.encode("cp1252"), "streets.csv")
    assert document.markdown == '| Straße | Nr |\n| --- | --- |\n| Am "Kai" | 3 |\n'
    assert document.metadata["rows"] == 1


def test_markdown_passes_with_front_matter_in_the_metadata(converted: Convert) -> None:
    document = converted(b"---\ntitle: A log\n---\nTop\n===\n\ntext\n\n## Sub\n\nmore\n", "log.md")
    assert document.title == "A log"
    assert document.markdown == "# Top\n\ntext\n\n## Sub\n\nmore\n"
    assert place_of(document, "more").heading_path == ("Top", "Sub")


def test_plain_text_gains_no_structure(converted: Convert) -> None:
    document = converted("Grüße\n# kein Titel".encode("utf-16"), "note.txt")
    assert document.markdown == "Grüße\n\\# kein Titel\n"
    assert document.title == "note"


def test_json_is_indented_in_a_fence(converted: Convert) -> None:
    content = json.dumps({"a": [1]}).encode()
    assert converted(content, "a.json").markdown == '```json\n{\n  "a": [\n    1\n  ]\n}\n```\n'


def test_broken_json_says_where(converted: Convert) -> None:
    with pytest.raises(ConversionError, match="line 2"):
        converted(b'{"a": 1,\n oops}', "a.json")


def test_rich_text_is_read(converted: Convert) -> None:
    assert "Hello harbour" in converted(b"{\\rtf1\\ansi Hello harbour\\par}", "a.rtf").markdown


@pytest.mark.parametrize(
    ("content", "filename", "code"),
    [
        (b"", "a.pdf", "empty_file"),
        (b"\x7fELF\x02\x01\x01\x00" + bytes(64), "program", "unsupported_media_type"),
        (b"PK\x03\x04" + bytes(40), "a.docx", "broken_file"),
    ],
)
def test_what_cannot_be_converted_is_refused_at_detection(
    tmp_path: Path, content: bytes, filename: str, code: str
) -> None:
    path = tmp_path / "input"
    path.write_bytes(content)
    with pytest.raises(ConversionError) as refused:
        detect(path, filename=filename)
    assert refused.value.code == code
    assert refused.value.hint


def test_wanted_source_type_must_fit_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(pdf())
    with pytest.raises(ConversionError) as refused:
        check_source_type(detect(path, filename="song.mp3"), ContentType.AUDIO)
    assert refused.value.code == "source_type_mismatch"


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\0\0\0\0AVI LIST", "video/x-msvideo"),
        (b"ID3\x04\0\0\0\0\0\0", "audio/mpeg"),
        (b"\xff\xfb\x90\x64" + bytes(60), "audio/mpeg"),
        (b"fLaC\0\0\0\x22", "audio/flac"),
        (b"OggS\0\x02", "audio/ogg"),
        (b"\0\0\0\x20ftypM4A \0\0\0\0", "audio/mp4"),
        (b"\0\0\0\x20ftypisom\0\0\0\0" + b"....vide....soun", "video/mp4"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0", "video/quicktime"),
        (b"\x1aE\xdf\xa3" + b"\x42\x82\x84webm" + b"V_VP9", "video/webm"),
        (b"\x1aE\xdf\xa3" + b"\x42\x82\x88matroska", "video/x-matroska"),
    ],
)
def test_media_are_told_by_their_first_bytes(tmp_path: Path, head: bytes, media_type: str) -> None:
    path = tmp_path / "input"
    path.write_bytes(head + bytes(200))
    assert detect(path, filename="whatever.bin").media_type == media_type


def test_filled_in_fields_of_a_form_are_read(converted: Convert) -> None:
    stream = io.BytesIO()
    canvas: Any = Canvas(stream)  # its forms are not typed
    canvas.drawString(60, 760, "Name:")
    canvas.acroForm.textfield(name="name", value="Ada Lovelace", x=120, y=752, width=200, height=20)
    canvas.save()
    assert converted(stream.getvalue(), "form.pdf").markdown == "Name: Ada Lovelace\n"


def opendocument(kind: str, body: str, styles: str = "") -> bytes:
    names = ["office", "text", "table", "drawing", "style", "presentation", "svg-compatible", "xsl-fo-compatible"]
    short = ["office", "text", "table", "draw", "style", "presentation", "svg", "fo"]
    spaces = " ".join(
        f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for prefix, name in zip(short, names, strict=True)
    )
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("mimetype", f"application/vnd.oasis.opendocument.{kind}")
        archive.writestr(
            "content.xml",
            f'<office:document-content {spaces} xmlns:xlink="http://www.w3.org/1999/xlink">'
            f"<office:automatic-styles>{styles}</office:automatic-styles><office:body>{body}</office:body>"
            "</office:document-content>",
        )
    return stream.getvalue()


def test_opendocument_text_keeps_structure(converted: Convert) -> None:
    styles = (
        '<style:style style:name="B" style:family="text"><style:text-properties fo:font-weight="bold"/></style:style>'
        '<text:list-style style:name="N"><text:list-level-style-number text:level="1" style:num-format="1"/>'
        "</text:list-style>"
    )
    body = (
        '<office:text><text:h text:outline-level="1">Tides</text:h>'
        '<text:p>A <text:span text:style-name="B">high</text:span>'
        " one<text:note><text:note-body><text:p>In May.</text:p></text:note-body></text:note>, see <text:a xlink:href="
        '"https://e.org/">here</text:a>.</text:p><text:list text:style-name="N"><text:list-item><text:p>First</text:p>'
        "<text:list><text:list-item><text:p>Inner</text:p></text:list-item></text:list></text:list-item></text:list>"
        "<table:table><table:table-row><table:table-cell><text:p>Port</text:p></table:table-cell><table:table-cell>"
        "<text:p>Depth</text:p></table:table-cell></table:table-row><table:table-row><table:table-cell><text:p>Alba"
        '</text:p></table:table-cell><table:table-cell table:number-columns-repeated="99999"/></table:table-row>'
        "</table:table></office:text>"
    )
    assert converted(opendocument("text", body, styles), "a.odt").markdown == (
        "# Tides\n\nA **high** one[^1], see [here](https://e.org/).\n\n1. First\n   - Inner\n\n"
        "| Port | Depth |\n| --- | --- |\n| Alba |  |\n\n[^1]: In May.\n"
    )


def test_opendocument_sheet_shows_dates_and_skips_a_million_empty_rows(converted: Convert) -> None:
    body = (
        '<office:spreadsheet><table:table table:name="Ports"><table:table-row><table:table-cell><text:p>Port</text:p>'
        "</table:table-cell><table:table-cell><text:p>Opened</text:p></table:table-cell></table:table-row>"
        "<table:table-row><table:table-cell><text:p>Alba</text:p></table:table-cell><table:table-cell "
        'office:value-type="date" office:date-value="1904-05-01"><text:p>05/01/04</text:p></table:table-cell>'
        '</table:table-row><table:table-row table:number-rows-repeated="1048574"><table:table-cell '
        'table:number-columns-repeated="16384"/></table:table-row></table:table></office:spreadsheet>'
    )
    document = converted(opendocument("spreadsheet", body), "a.ods")
    assert document.markdown == "## Ports\n\n| Port | Opened |\n| --- | --- |\n| Alba | 1904-05-01 |\n"
    assert place_of(document, "Alba").sheet == "Ports"


def test_opendocument_slides_keep_order_and_notes(converted: Convert) -> None:
    item = "<text:list><text:list-item><text:p>{}</text:p></text:list-item></text:list>"
    body = (
        '<office:presentation><draw:page><draw:frame svg:y="9cm"><draw:text-box>'
        f"{item.format('One')}{item.format('Two')}</draw:text-box></draw:frame><draw:frame svg:y='1cm' "
        'presentation:class="title"><draw:text-box><text:p>Opening</text:p></draw:text-box></draw:frame>'
        '<presentation:notes><draw:frame presentation:class="notes"><draw:text-box><text:p>Say hello.</text:p>'
        '</draw:text-box></draw:frame><draw:frame presentation:class="page-number"><draw:text-box><text:p>7</text:p>'
        "</draw:text-box></draw:frame></presentation:notes></draw:page></office:presentation>"
    )
    document = converted(opendocument("presentation", body), "a.odp")
    assert document.markdown == "# Opening\n\n- One\n- Two\n\n**Notes:**\n\nSay hello.\n"
    assert place_of(document, "Two").slide == 1


def test_opendocument_with_a_password_is_refused(converted: Convert) -> None:
    stream = io.BytesIO(opendocument("text", "<office:text/>"))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("META-INF/manifest.xml", "<m><encryption-data/></m>")
    with pytest.raises(ConversionError) as caught:
        converted(stream.getvalue(), "a.odt")
    assert caught.value.code == "encrypted"


def zipped(*entries: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return stream.getvalue()


def test_archive_converts_each_file_under_its_name(converted: Convert) -> None:
    content = zipped(
        ("notes/a.md", b"# Tide\n\nHigh."), ("b.csv", b"x,y\n1,2\n"), ("__MACOSX/._a.md", b"\0\1"), ("c.bin", b"\0\1\2")
    )
    document = converted(content, "all.zip")
    assert document.markdown == (
        "## notes/a.md\n\n### Tide\n\nHigh.\n\n## b.csv\n\n| x | y |\n| --- | --- |\n| 1 | 2 |\n\n## c.bin\n\n"
        "*Not converted: Files of this kind cannot be converted.*\n"
    )
    assert document.metadata == {"files": ["notes/a.md", "b.csv"], "files_left_out": 1}
    assert place_of(document, "High").heading_path == ("notes/a.md", "Tide")


def test_names_in_an_archive_lead_nowhere(converted: Convert, tmp_path: Path) -> None:
    document = converted(zipped(("../../escaped.txt", b"words"), ("/etc/x\n# y.txt", b"more")), "all.zip")
    assert document.markdown == "## escaped.txt\n\nwords\n\n## etc/x# y.txt\n\nmore\n"
    assert not list(tmp_path.parent.rglob("escaped*"))


def test_archives_within_archives_are_opened_to_a_depth(converted: Convert) -> None:
    content = zipped(("a.txt", b"innermost"))
    for depth in range(5):
        content = zipped((f"level{depth}.zip", content), (f"{depth}.txt", f"at {depth}".encode()))
    text = converted(content, "all.zip").markdown
    assert "too deep" in text
    assert "at 2" in text
    assert "innermost" not in text


def test_archive_with_nothing_to_convert_says_so(converted: Convert) -> None:
    with pytest.raises(ConversionError) as caught:
        converted(zipped(("a.bin", b"\0\1\2\3")), "all.zip")
    assert caught.value.code == "nothing_inside"


def test_archive_that_inflates_is_refused(converted: Convert) -> None:
    with pytest.raises(ConversionError) as caught:
        converted(zipped(("a.txt", b"\0" * 200 * 1024**2)), "all.zip")
    assert caught.value.code == "zip_bomb"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "a.srt",
            "1\r\n00:00:01,000 --> 00:00:03,500\r\n<i>High</i> tide.\r\n\r\n2\r\n00:01:00,000 --> 00:01:02,000\r\nLow.",
        ),
        ("a.vtt", "WEBVTT\n\n00:01.000 --> 00:03.500 align:start\nHigh tide.\n\nx\n01:00.000 --> 01:02.000\nLow.\n"),
    ],
)
def test_subtitles_become_paragraphs_with_their_seconds(converted: Convert, name: str, text: str) -> None:
    document = converted(text.encode(), name)
    assert "High tide." in document.markdown
    assert "<i>" not in document.markdown
    assert (place_of(document, "High").start_s, place_of(document, "Low").start_s) == (1.0, 60.0)


def test_captions_that_roll_are_told_once(converted: Convert) -> None:
    shown = ("one", "one\ntwo", "two\nthree")
    text = "WEBVTT\n\n" + "\n\n".join(f"00:0{at}.000 --> 00:0{at + 1}.000\n{one}" for at, one in enumerate(shown))
    assert converted(text.encode(), "a.vtt").markdown.count("one") == 1
    assert "one two three" in converted(text.encode(), "a.vtt").markdown


def test_notebook_keeps_its_language_and_what_it_printed(converted: Convert) -> None:
    book = {
        "nbformat": 4,
        "metadata": {"language_info": {"name": "python"}},
        "cells": [
            {"cell_type": "markdown", "source": ["# Tides\n", "High."]},
            {"cell_type": "code", "source": "1 + 1", "outputs": [{"data": {"text/plain": ["2"]}}]},
            {
                "cell_type": "code",
                "source": "x",
                "outputs": [{"output_type": "error", "ename": "NameError", "evalue": "x"}],
            },
        ],
    }
    assert converted(json.dumps(book).encode(), "a.ipynb").markdown == (
        "# Tides\n\nHigh.\n\n```python\n1 + 1\n```\n\n```\n2\n```\n\n```python\nx\n```\n\n```\nNameError: x\n```\n"
    )


def test_page_nested_deeper_than_its_parser_goes_gives_its_words(converted: Convert) -> None:
    deep = b"<html><body><script>no</script>" + b"<div>" * 100_000 + b"the words" + b"</div>" * 100_000
    assert converted(deep, "deep.html").markdown == "the words\n"


def test_text_with_zeros_strewn_in_is_read(converted: Convert) -> None:
    assert converted(b"High\0 tide\0 at noon.\n" * 3, "log.txt").markdown.startswith("High tide at noon.")


@pytest.mark.parametrize("name", ["a.doc", "a.xls", "a.ppt", "a.msg"])
def test_old_office_file_that_was_cut_off_says_so(converted: Convert, name: str) -> None:
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 22 + b"\x09\0" + b"\0" * 16 + b"\xff\0\0\0" + b"\0" * 460
    with pytest.raises(ConversionError, match="cut off"):
        converted(head, name)


def test_document_without_text_says_so(converted: Convert) -> None:
    assert converted(b" \n\n ", "blank.txt").metadata["note"] == "No text was found."


def picture_of_text(lines: int) -> io.BytesIO:
    picture = Image.new("RGB", (1000, 60 + 50 * lines), "white")
    drawn = ImageDraw.Draw(picture)
    for at in range(lines):
        text = f"Scanned line {at} of the harbour ledger"
        drawn.text((40, 40 + 50 * at), text, fill="black", font=ImageFont.load_default(32))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream


def test_picture_of_text_on_a_page_with_text_is_read_where_it_stands(converted: Convert) -> None:
    stream = io.BytesIO()
    canvas: Any = Canvas(stream)  # its pictures are not typed
    canvas.drawString(60, 780, "These words stand above the picture.")
    canvas.drawImage(ImageReader(picture_of_text(4)), 60, 500, 460, 120)
    canvas.drawString(60, 400, "These words stand below the picture.")
    canvas.save()
    text = converted(stream.getvalue(), "mixed.pdf").markdown
    assert text.index("above the picture") < text.index("Scanned line 2") < text.index("below the picture")
    assert "Scanned" not in converted(stream.getvalue(), "mixed.pdf", options={"ocr": "never"}).markdown


def test_office_file_with_a_password_opens_with_it_only(converted: Convert) -> None:
    office: Any = import_module("msoffcrypto.format.ooxml")
    stream = io.BytesIO()
    office.OOXMLFile(io.BytesIO(word())).encrypt("open sesame", stream)
    assert "# " in converted(stream.getvalue(), "a.docx", options={"password": "open sesame"}).markdown
    for options in ({}, {"password": "wrong"}):
        with pytest.raises(ConversionError) as caught:
            converted(stream.getvalue(), "a.docx", options=options)
        assert caught.value.code == "encrypted"


def test_short_page_keeps_the_structure_of_its_main_element(converted: Convert) -> None:
    page = (
        b"<html><body><nav>menu menu</nav><main><h1>API</h1><p>Use this to open a port in the harbour program.</p>"
        b"<pre><code>open_port()</code></pre><ul><li>One</li><li>Two</li></ul></main><footer>foot</footer></body></html>"
    )
    text = converted(page, "docs.html").markdown
    assert "- One\n- Two" in text
    assert "```\nopen_port()\n```" in text
    assert "menu" not in text
