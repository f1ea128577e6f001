"""The sample report: several pages with headings, a ruled table and a bullet list."""

from collections.abc import Sequence
from pathlib import Path

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.platypus import (
    Flowable,
    ListFlowable,
    PageBreak,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    Table,
    TableStyle,
)
from world import NAME

SUMMARY = """\
The year 2025 was a good one for the observatory. We measured the tide on every one of its 365 days, kept the lamp
burning through 41 storms, and welcomed 515 visitors to the dome, more than in any year before.

The highest tide of the year reached 6.42 metres on 8 October 2025, shortly after the full moon. The water stood on the
lower quay for two hours, but the sandbags that the volunteers had filled the day before kept the boat house dry."""
WORK = (
    "The dome was taken apart in February and its rails were ground smooth",
    "A new float was fitted to the tide gauge in April",
    "The launch was painted and its engine overhauled in June",
    "Forty school classes learnt to read a star map",
)
OUTLOOK = """\
In 2026 the old lens of the great lamp will be replaced. It was ground in 1889 and has two cracks that grow each winter.
The roof of the boat house must follow, and the council has been asked to pay for it.

We also mean to put the paper rolls of the tide gauge, 114 years of them, into a form that anyone may search."""
GRID = TableStyle(
    [
        ("GRID", (0, 0), (-1, -1), 0.7, colors.black),
        ("BACKGROUND", (0, 0), (-1, 0), colors.lightgrey),
        ("FONTNAME", (0, 0), (-1, 0), "Helvetica-Bold"),
        ("ALIGN", (1, 1), (-1, -1), "RIGHT"),
    ]
)


def report(path: Path, tides: Sequence[Sequence[str]]) -> None:
    """Write the report; the same bytes each time."""
    style = getSampleStyleSheet()

    def text(name: str, *lines: str) -> list[Flowable]:
        return [part for line in lines for part in (Paragraph(line, style[name]), Spacer(1, 6))]

    story: list[Flowable] = [
        *text("Title", f"{NAME}: annual report 2025"),
        *text("Heading1", "1 The year in brief"),
        *text("BodyText", *SUMMARY.split("\n\n")),
        *text("Heading2", "1.1 Work done"),
        ListFlowable([Paragraph(item, style["BodyText"]) for item in WORK], bulletType="bullet", start="•"),
        PageBreak(),
        *text("Heading1", "2 Tides and skies"),
        *text("BodyText", "Heights are given in metres above the zero of the harbour gauge."),
        Table([list(row) for row in tides], style=GRID),
        PageBreak(),
        *text("Heading1", "3 Outlook"),
        *text("BodyText", *OUTLOOK.split("\n\n")),
    ]
    SimpleDocTemplate(
        str(path), pagesize=A4, title=f"{NAME}: annual report 2025", author="Ingrid Halloran", invariant=1
    ).build(story)
