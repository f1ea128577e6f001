"""The sample letter, slides and workbook, with fixed dates so that making them again gives the same bytes."""

import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import docx
import pptx
import xlsxwriter  # pyright: ignore[reportMissingTypeStubs] - it ships none
from pptx.util import Inches
from world import INCOME, NAME, PEOPLE, SPENDING, WRITTEN

ZIP_DATE = (2026, 1, 15, 9, 0, 0)


def _fix_dates(path: Path) -> None:
    """Rewrite a zip with one date on all members: the writers put in the time of day."""
    with zipfile.ZipFile(path) as old:
        members = [(name, old.read(name)) for name in old.namelist()]
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members:
            new.writestr(zipfile.ZipInfo(name, ZIP_DATE), content, zipfile.ZIP_DEFLATED, 9)


def letter(path: Path) -> None:
    """A letter with headings, a numbered and a bullet list, and a table."""
    document = docx.Document()
    core = document.core_properties
    core.title, core.author, core.created, core.modified = "The new lens", "Ingrid Halloran", WRITTEN, WRITTEN
    document.add_heading("The new lens of the great lamp", 0)
    document.add_paragraph("To the harbour council, 15 January 2026")
    document.add_paragraph(
        f"The {NAME} thanks the council for its grant. The new lens is finished. It arrives on 17 March 2026 on board "
        "the coaster Petrel and will be lifted over the sea wall at high water."
    )
    document.add_heading("What we ask of the council", 1)
    for line in ("Close the quay to cars from 06:00 to 14:00", "Lend us the small crane", "Warn the ferries"):
        document.add_paragraph(line, style="List Bullet")
    document.add_heading("How it will be done", 1)
    for line in ("The old lens is taken down", "The frame is cleaned and oiled", "The new lens is set and levelled"):
        document.add_paragraph(line, style="List Number")
    document.add_heading("Weights", 2)
    rows = (("Part", "Weight (kg)"), ("Old lens", "310"), ("New lens", "265"), ("Frame", "120"))
    table = document.add_table(rows=0, cols=2, style="Table Grid")
    for row in rows:
        for cell, text in zip(table.add_row().cells, row, strict=True):
            cell.text = text
    document.add_paragraph("With kind regards, Ingrid Halloran, director")
    document.save(str(path))
    _fix_dates(path)


def slides(path: Path) -> None:
    """Three slides: bullets with speaker notes, a table, and more notes."""
    deck: Any = pptx.Presentation()
    core = deck.core_properties
    core.title, core.author, core.created, core.modified = "Plans for 2026", "Ingrid Halloran", WRITTEN, WRITTEN
    _bullets(
        deck,
        "Plans for 2026",
        ("Set the new lens of the great lamp", "Mend the roof of the boat house", "Search the old tide rolls"),
        "Begin with the photograph of the cracked lens. Leave time for questions.",
    )
    _bullets(
        deck,
        "The roof of the boat house",
        ("Slate, 140 square metres", "Cost estimate: 22,000 pounds", "Work from May to July"),
        "If the council refuses to pay for the new roof, we stretch a canvas over the beams and ask again in autumn.",
    )
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Who does what"
    rows = [row[:3] for row in PEOPLE[:5]]
    table = slide.shapes.add_table(len(rows), 3, Inches(1), Inches(2), Inches(8), Inches(3)).table
    for r, row in enumerate(rows):
        for c, text in enumerate(row):
            table.cell(r, c).text = text
    deck.save(str(path))
    _fix_dates(path)


def _bullets(deck: Any, title: str, bullets: tuple[str, ...], notes: str) -> None:
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = title
    frame = slide.placeholders[1].text_frame
    frame.text = bullets[0]
    for bullet in bullets[1:]:
        frame.add_paragraph().text = bullet
    slide.notes_slide.notes_text_frame.text = notes


def budget(path: Path) -> None:
    """Two sheets with dates and sums; each formula carries its value for readers that do not calculate."""
    book: Any = xlsxwriter.Workbook(str(path))
    book.set_properties({"title": "Budget 2025", "author": "Ingrid Halloran", "created": WRITTEN.replace(tzinfo=None)})
    bold, date = book.add_format({"bold": True}), book.add_format({"num_format": "yyyy-mm-dd"})
    money = book.add_format({"num_format": "#,##0"})
    for name, rows in (("Spending", SPENDING), ("Income", INCOME)):
        sheet = book.add_worksheet(name)
        sheet.set_column(0, 1, 26)
        sheet.write_row(0, 0, ("Date", "What", "Pounds"), bold)
        for r, (day, what, pounds) in enumerate(rows, 1):
            sheet.write_datetime(r, 0, datetime.fromisoformat(day), date)
            sheet.write(r, 1, what)
            sheet.write(r, 2, pounds, money)
        total = sum(row[2] for row in rows)
        sheet.write(len(rows) + 1, 1, "Total", bold)
        sheet.write_formula(len(rows) + 1, 2, f"=SUM(C2:C{len(rows) + 1})", money, total)
    book.close()
