"""The invented place all samples tell of, so that each demo question has one right answer in one file."""

from dataclasses import dataclass
from datetime import UTC, datetime

NAME = "Skerrow Point Harbour Observatory"
WRITTEN = datetime(2026, 1, 15, 9, 0, tzinfo=UTC)
"""The date every sample carries, so that making them again gives the same bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question of the demo, the sample that answers it, and words of the answer."""

    text: str
    file: str
    answer: str


QUESTIONS = (
    Question(text="How high was the highest tide of 2025?", file="report.pdf", answer="6.42"),
    Question(text="Where is the spare key of the boat house kept?", file="speech.mp3", answer="blue clock"),
    Question(text="How many people does the lifeboat hold?", file="clip.mp4", answer="fourteen"),
    Question(text="What did the barometer fall to in the storm of 1987?", file="scan.png", answer="961 hectopascals"),
    Question(text="What do we do if the council refuses to pay for the new roof?", file="slides.pptx", answer="canvas"),
)
"""The five of the demo."""

MORE_QUESTIONS = (
    Question(text="On which day does the new lens arrive?", file="letter.docx", answer="17 March 2026"),
    Question(text="How much was spent on the repair of the dome?", file="budget.xlsx", answer="18450"),
    Question(text="What does a child pay on an open evening?", file="page.html", answer="3 pounds"),
    Question(text="Why was the foghorn sounding at night?", file="message.eml", answer="stuck relay"),
    Question(text="Who looks after the tide gauge?", file="people.csv", answer="Marta Lindqvist"),
)
"""One for each of the other samples."""

TIDES = (
    ("Month", "Highest tide (m)", "Lowest tide (m)", "Clear nights"),
    ("January", "5.71", "0.62", "6"),
    ("February", "5.88", "0.55", "7"),
    ("March", "6.05", "0.31", "9"),
    ("April", "5.97", "0.38", "11"),
    ("May", "5.64", "0.60", "14"),
    ("June", "5.52", "0.71", "12"),
    ("July", "5.49", "0.74", "13"),
    ("August", "5.83", "0.47", "15"),
    ("September", "6.18", "0.26", "12"),
    ("October", "6.42", "0.19", "8"),
    ("November", "6.01", "0.34", "5"),
    ("December", "5.79", "0.58", "4"),
)

PEOPLE = (
    ("name", "role", "call_sign", "since"),
    ("Ingrid Halloran", "director", "Heron", "2014"),
    ("Marta Lindqvist", "tide gauge keeper", "Tern", "2019"),
    ("Tomasz Bell", "night observer", "Owl", "2021"),
    ("Priya Raman", "lens and optics", "Kestrel", "2020"),
    ("Callum Reid", "boats and moorings", "Gannet", "2011"),
    ("Odile Marchetti", "visitors and school classes", "Wren", "2023"),
)

SPENDING = (
    ("2025-02-11", "Repair of the dome", 18450),
    ("2025-04-03", "Tide gauge, new float", 2310),
    ("2025-06-19", "Diesel for the launch", 1875),
    ("2025-09-08", "Printing of the star map", 640),
    ("2025-11-24", "Deposit for the new lens", 9200),
)

INCOME = (
    ("2025-01-31", "Harbour council grant", 30000),
    ("2025-07-14", "Open evenings", 4120),
    ("2025-10-02", "Bequest of Captain Yorke", 7500),
)

LOGBOOK = (
    "KEEPER'S LOGBOOK",
    "Storm of 16 October 1987",
    "",
    "At 03:20 the barometer fell to 961 hectopascals,",
    "the lowest reading ever taken at Skerrow Point.",
    "The wind blew from the south-west with gusts of",
    "104 knots. Two boats broke from their moorings.",
    "",
    "By 06:45 the worst was over. The lamp burned all",
    "night and nobody on the island was hurt.",
    "",
    "Signed: E. Yorke, keeper of the watch",
)

SPEECH = (
    "Welcome to the harbour observatory. My name is Martin, and I am the night keeper. "
    "Every evening I light the lamp, and I write down the wind and the weather. "
    "If you need the boat house after dark, the spare key is kept behind the blue clock in the kitchen. "
    "Please bring it back before breakfast."
)

SLIDES_SPOKEN = (
    ("SAFETY ON THE PIER", "Wear a life jacket", "Before you board, put on your life jacket."),
    ("THE LIFEBOAT", "Holds fourteen people", "The lifeboat holds fourteen people. Sit down and hold on."),
    ("IN AN EMERGENCY", "Call on channel 72", "In an emergency, call the harbour on channel seventy two."),
)
"""The clip: what each picture shows (title, line) and what is said meanwhile."""
