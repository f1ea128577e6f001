"""What people read: places, tables, statuses, settings, addresses."""

from pathlib import Path

import pytest

from morag.cli import settings_help
from morag.cli.addresses import exposure, first_key, url_of
from morag.cli.following import ended
from morag.cli.output import shown, table
from morag.cli.places import clock, place_of
from morag.cli.search import lines_of as hit_lines
from morag.cli.status import lines_of as status_lines
from morag.domain.json import JsonObject
from morag.settings import Settings


@pytest.mark.parametrize(
    ("hit", "place"),
    [
        ({"page": 2, "heading_path": ["Tides", "2025"]}, "page 2 · Tides > 2025"),
        ({"sheet": "Spending", "slide": None}, "sheet Spending"),
        ({"slide": 3}, "slide 3"),
        ({"start_s": 65.2, "speaker": "Martin"}, "at 1:05 · Martin"),
        ({"heading_path": []}, ""),
    ],
)
def test_a_place_is_told_by_what_applies(hit: JsonObject, place: str) -> None:
    assert place_of(hit) == place


@pytest.mark.parametrize(("seconds", "told"), [(0, "0:00"), (65.9, "1:05"), (3671, "1:01:11")])
def test_seconds_are_told_as_a_clock_tells_them(seconds: float, told: str) -> None:
    assert clock(seconds) == told


def test_strangers_text_cannot_steer_the_terminal() -> None:
    assert shown("a\x1b[2Jb\r\nc\u202ed") == "a [2Jb c d"


def test_a_table_is_as_wide_as_its_widest_cells() -> None:
    assert table(("A", "B"), [("long", "x"), ("s", "y")]) == ["A     B", "long  x", "s     y"]


def test_a_hit_is_told_with_source_place_text_and_score() -> None:
    hit: JsonObject = {
        "source": "report.pdf",
        "title": "Tides",
        "page": 2,
        "text": "word " * 300,
        "score": 0.51234,
        "document_id": "d1",
    }
    lines = hit_lines(1, hit)
    assert lines[0] == "1. report.pdf (Tides) · page 2"
    assert lines[-3].endswith("…")
    assert lines[-2:] == ["    document d1, score 0.512", ""]
    assert len(lines) == 7


def test_a_failed_task_is_told_with_reason_and_hint() -> None:
    lines = status_lines(
        {
            "task_id": "t",
            "name": "ingest",
            "status": "failed",
            "progress": 0.5,
            "error": {"code": "broken_file", "message": "It is cut off.", "hint": "Send it again."},
            "attempts": [{"n": 1, "worker": "w", "outcome": "failed", "decision": {"reason": "the input is at fault"}}],
        }
    )
    assert "status    failed 50%" in lines
    assert "attempt   1 on w, failed: the input is at fault" in lines
    assert lines[-2:] == ["error     It is cut off. (broken_file)", "hint      Send it again."]


def test_a_waiting_task_is_told_with_its_place() -> None:
    lines = status_lines({"task_id": "t", "status": "pending", "queue": {"lane": "celery", "position": 3}})
    assert "queue     3 before it in celery" in lines


def test_only_completed_is_a_good_end() -> None:
    assert ended({"status": "completed", "result": {"document_id": "d"}}).error is None
    cancelled = ended({"status": "cancelled", "error": None}).error
    assert cancelled is not None
    assert cancelled.code == "cancelled"


def test_every_setting_is_told_with_variable_default_and_meaning() -> None:
    told = "\n".join(settings_help.lines())
    for name, field in Settings.model_fields.items():
        assert f"  {settings_help.variable(name, field)}  [" in told
        assert field.description, name
        assert field.description.split()[0] in told
    assert "MORAG_PORT  [8000]" in told
    assert "MORAG_SERVER_URL  [http://127.0.0.1:8000]" in told


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://localhost:80"),  # noqa: S104 - told, not bound
        ("::1", "http://[::1]:80"),
        ("::", "http://localhost:80"),
    ],
)
def test_a_server_is_found_by_an_address_that_can_be_opened(host: str, url: str) -> None:
    assert url_of(host, 80) == url


def test_listening_on_this_machine_alone_needs_no_word() -> None:
    assert exposure("127.0.0.1", allow_anonymous=True) == []


def test_listening_elsewhere_is_told_with_who_may_do_what() -> None:
    assert "refused" in exposure("192.168.1.4", allow_anonymous=None)[1]
    assert "whoever" in exposure("::", allow_anonymous=True)[1]


def test_the_first_key_is_made_in_the_servers_own_folder() -> None:
    told = first_key(Path("/srv/my data"))[-1].strip()
    assert told == "MORAG_DATA_DIR='/srv/my data' morag keys create --user YOUR_NAME --scope submit"
    assert first_key(None)[-1].strip().startswith("morag keys create")
