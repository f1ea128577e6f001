"""What the application itself keeps: sentences, visits, scores, ratings, page views. One SQLite file.

A connection lives as long as one call, so that any thread and any child process may call. Whatever a task writes is
safe to write twice, because a task runs twice if its process is killed in the middle.
"""

import secrets
import sqlite3
import time
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from practice import stars

SENTENCES = {
    "lamp": "Every evening I light the lamp, and I write down the wind and the weather.",
    "clock": "The spare key is kept behind the blue clock in the kitchen.",
    "breakfast": "Please bring it back before breakfast.",
    "harvest": "The farmers bring in the harvest while the weather is fine.",
    "question": "Could you tell me where the nearest station is, please?",
}

SCHEMA = """
CREATE TABLE IF NOT EXISTS resources (id TEXT PRIMARY KEY, sentence TEXT NOT NULL, views INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, user_name TEXT NOT NULL, seen_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS scores (
    task_id TEXT PRIMARY KEY, resource_id TEXT NOT NULL, user_name TEXT NOT NULL, percent INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS scores_of ON scores (resource_id, user_name);
CREATE TABLE IF NOT EXISTS ratings (
    resource_id TEXT NOT NULL, user_name TEXT NOT NULL, rating REAL NOT NULL, PRIMARY KEY (resource_id, user_name)
);
CREATE TABLE IF NOT EXISTS impressions (resource_id TEXT PRIMARY KEY, views INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS batches (id TEXT PRIMARY KEY);
"""

EVERYBODY = ""
"""The user name under which a sentence's rating by all learners stands."""


class Store:
    """The application's database."""

    def __init__(self, path: Path) -> None:
        """Opens nothing yet."""
        self._path = path

    def prepare(self) -> None:
        """Make the folder, the tables and the sentences that are missing."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(SCHEMA)
            db.executemany("INSERT OR IGNORE INTO resources (id, sentence) VALUES (?, ?)", SENTENCES.items())

    def resources(self) -> list[dict[str, Any]]:
        """All sentences with their views and the rating everybody's scores give."""
        with self._open() as db:
            rows = db.execute(
                "SELECT id, sentence, views, rating FROM resources LEFT JOIN ratings"
                " ON resource_id = id AND user_name = ? ORDER BY resources.rowid",
                (EVERYBODY,),
            )
            return [dict(row) for row in rows]

    def sentence(self, resource_id: str) -> str | None:
        """The sentence of that id."""
        with self._open() as db:
            row = db.execute("SELECT sentence FROM resources WHERE id = ?", (resource_id,)).fetchone()
        return str(row["sentence"]) if row else None

    # Sessions

    def new_session(self) -> str:
        """Begin a visit: its id, which is told to one browser only."""
        session = secrets.token_urlsafe(16)
        with self._open() as db:
            db.execute("INSERT INTO sessions VALUES (?, '', ?)", (session, time.time()))
        return session

    def seen(self, session: str | None, user_name: str = "") -> str | None:
        """The name the visitor gave, now or before; None if the visit is unknown or over."""
        with self._open() as db:
            db.execute(
                "UPDATE sessions SET seen_at = ?, user_name = CASE ? WHEN '' THEN user_name ELSE ? END WHERE id = ?",
                (time.time(), user_name, user_name, session),
            )
            row = db.execute("SELECT user_name FROM sessions WHERE id = ?", (session,)).fetchone()
        return str(row["user_name"]) if row else None

    def end_sessions(self, *, idle_s: float) -> int:
        """Forget the visits nobody was seen in for so long: how many."""
        with self._open() as db:
            return db.execute("DELETE FROM sessions WHERE seen_at < ?", (time.time() - idle_s,)).rowcount

    # Scores and ratings

    def add_score(self, task_id: str, resource_id: str, user_name: str, percent: int) -> None:
        """Keep the score of a task, once."""
        with self._open() as db:
            db.execute("INSERT OR IGNORE INTO scores VALUES (?, ?, ?, ?)", (task_id, resource_id, user_name, percent))

    def rate(self, resource_id: str, user_name: str = EVERYBODY) -> float | None:
        """Calculate and keep the rating that a learner's scores of a sentence give, or everybody's."""
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")  # no score may come between reading and writing
            rows = db.execute(
                "SELECT percent FROM scores WHERE resource_id = ? AND ? IN (user_name, '')", (resource_id, user_name)
            )
            rating = stars([row["percent"] for row in rows])
            if rating is not None:
                db.execute("INSERT OR REPLACE INTO ratings VALUES (?, ?, ?)", (resource_id, user_name, rating))
        return rating

    def learners(self) -> list[tuple[str, str]]:
        """Who has scores, as (resource_id, user_name)."""
        with self._open() as db:
            rows = db.execute("SELECT DISTINCT resource_id, user_name FROM scores").fetchall()
        return [(row["resource_id"], row["user_name"]) for row in rows]

    # Page views: counted in `impressions` (or elsewhere), moved from there to their sentences

    def count_view(self, resource_id: str) -> None:
        """Count a view, to be moved later."""
        with self._open() as db:
            db.execute(
                "INSERT INTO impressions VALUES (?, 1) ON CONFLICT (resource_id) DO UPDATE SET views = views + 1",
                (resource_id,),
            )

    def move_views(self) -> int:
        """Move the views counted here to their sentences, in one transaction: how many."""
        with self._open() as db:
            counts = {
                row["resource_id"]: int(row["views"]) for row in db.execute("DELETE FROM impressions RETURNING *")
            }
            return _add(db, counts)

    def add_views(self, batch: str, counts: Mapping[str, int]) -> int:
        """Add the views of a batch that was counted elsewhere, unless that was done before: how many."""
        with self._open() as db:
            is_new = db.execute("INSERT OR IGNORE INTO batches VALUES (?)", (batch,)).rowcount
            return _add(db, counts) if is_new else 0

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        """One transaction: committed at the end, undone if that is an exception."""
        with closing(sqlite3.connect(self._path, timeout=10)) as db, db:
            db.row_factory = sqlite3.Row
            yield db


def _add(db: sqlite3.Connection, counts: Mapping[str, int]) -> int:
    db.executemany(
        "UPDATE resources SET views = views + ? WHERE id = ?", [(views, name) for name, views in counts.items()]
    )
    return sum(counts.values())
