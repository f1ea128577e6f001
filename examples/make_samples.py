"""Writes one real file of every kind into examples/samples/: what `make demo` ingests and the tests read.

    .venv/bin/python examples/make_samples.py [FOLDER]

The files are committed; run this only to change them. Speech is made by espeak-ng (Debian: `apt-get install
espeak-ng`); without it the spoken samples are left as they are.
"""

import csv
import sys
from email.message import EmailMessage
from pathlib import Path

import make_media
import make_office
import make_pdf
from world import MORE_QUESTIONS, NAME, PEOPLE, QUESTIONS, TIDES, WRITTEN

SAMPLES = Path(__file__).parent / "samples"

PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Open evenings at the observatory</title>
<meta name="author" content="Odile Marchetti"><meta name="date" content="2026-01-15">
<style>nav a {{ margin-right: 1em }}</style><script>window.visits = (window.visits || 0) + 1;</script></head>
<body>
<div id="cookie-banner" role="dialog"><p>We use cookies to improve your experience.</p><button>Accept all</button></div>
<header><nav><a href="/">Home</a><a href="/tides">Tides</a>
<a href="/visit">Visit</a><a href="/shop">Shop</a></nav></header>
<main><article>
<h1>Open evenings at the observatory</h1>
<p>By Odile Marchetti. The {NAME} opens its dome to visitors on the first and third Friday of every month from April to
September. Doors open at 20:30, and the lamp room closes at 23:00.</p>
<h2>Tickets</h2>
<p>An adult pays 8 pounds and a child pays 3 pounds. Members of the harbour council and their guests come in free.
Please <a href="/visit/book">book ahead</a>, because the stairs take no more than twenty visitors at a time.</p>
<h2>What you will see</h2>
<ul><li>Saturn and its rings through the old refractor, when the sky is clear</li>
<li>The tide gauge with its paper roll from 1911</li>
<li>The great lamp, which is lit at dusk</li></ul>
<p>In cloudy weather the evening moves to the boat house, where we show films of past storms and serve
hot chocolate.</p>
</article></main>
<aside><h3>Follow us</h3><p>Subscribe to our newsletter and never miss an event!</p></aside>
<footer><p>Copyright 2026. <a href="/imprint">Imprint</a> <a href="/privacy">Privacy policy</a></p></footer>
</body></html>
"""

LETTER_BODY = """Dear Ingrid,

three families on Quay Street rang me this morning: the foghorn was sounding from two until five at night although
the sky was clear.

Priya and I opened the cabinet at six. The cause was a stuck relay behind the fog sensor, green with salt. We replaced
it, and the horn has been quiet since. I have attached the log of the sensor.

Could you send the families a word of apology?

Callum
"""


def page(folder: Path) -> None:
    """An article in the noise of a web page."""
    (folder / "page.html").write_text(PAGE, encoding="utf-8")


def message(folder: Path) -> None:
    """A mail with a text attachment."""
    mail = EmailMessage()
    mail["From"] = "Callum Reid <callum@skerrow.example>"
    mail["To"] = "Ingrid Halloran <ingrid@skerrow.example>"
    mail["Subject"] = "The foghorn last night"
    mail["Date"] = WRITTEN
    mail["Message-ID"] = "<foghorn-1@skerrow.example>"
    mail.set_content(LETTER_BODY)
    body = LETTER_BODY.replace("\n\n", "</p><p>")
    mail.add_alternative(f"<html><body><p>{body}</p></body></html>", subtype="html")
    mail.add_attachment("02:03 fog sensor on\n05:01 fog sensor off\n06:10 relay replaced\n", filename="sensor-log.txt")
    for part, boundary in zip([p for p in mail.walk() if p.is_multipart()], ("outer", "inner"), strict=True):
        part.set_boundary(f"=={boundary}-skerrow==")
    (folder / "message.eml").write_bytes(mail.as_bytes())


def people(folder: Path) -> None:
    """A small table with a header."""
    with (folder / "people.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(PEOPLE)


def questions(folder: Path) -> None:
    """The demo's questions and where their answers stand."""
    rows = [f"| {q.text} | {q.file} | {q.answer} |" for q in (*QUESTIONS, *MORE_QUESTIONS)]
    head = ["# What one can ask of the samples", "", "The first five are those of the demo.", ""]
    text = "\n".join([*head, "| question | file | answer |", "|---|---|---|", *rows, ""])
    (folder / "QUESTIONS.md").write_text(text, encoding="utf-8")


def make(folder: Path) -> list[Path]:
    """Write every sample; those that need espeak-ng only where it is. The files now in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    make_pdf.report(folder / "report.pdf", TIDES)
    make_office.letter(folder / "letter.docx")
    make_office.slides(folder / "slides.pptx")
    make_office.budget(folder / "budget.xlsx")
    for write in (page, message, people, questions):
        write(folder)
    make_media.scan(folder / "scan.png")
    if make_media.can_speak():
        make_media.speech(folder / "speech.mp3")
        make_media.clip(folder / "clip.mp4")
    else:
        print("speech.mp3 and clip.mp4 are left as they are: they need espeak-ng (apt-get install espeak-ng)")
    return sorted(folder.iterdir())


if __name__ == "__main__":
    for path in make(Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES):
        print(f"{path.stat().st_size:8,} {path.name}")
