"""The `morag` command as a user has it: real processes against one real server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("cli")

START_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """Runs `morag`, in an environment of its own."""

    folder: Path
    environment: dict[str, str]

    def morag(self, *words: str | Path, timeout_s: float = 60.0, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "morag", *map(str, words)],
            env=self.environment | more,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def start(self, *words: str | Path, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "morag", *map(str, words)],
            env=self.environment | more,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def json(self, *words: str | Path) -> Any:
        done = self.morag(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MORAG_")}
    return kept | {"MORAG_DATA_DIR": str(folder / "data"), "COLUMNS": "100", "NO_COLOR": "1"}


@pytest.fixture
def alone(tmp_path: Path) -> Shell:
    """A shell without a server."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    return Shell(folder=tmp_path, environment=_environment(tmp_path) | {"MORAG_SERVER_URL": url})


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Shell]:
    """A shell beside a server, shared by the tests of this file."""
    folder = tmp_path_factory.mktemp("served")
    shell = Shell(folder=folder, environment=_environment(folder))
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "morag", "serve", "--port", "0"],
            env=shell.environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        try:
            yield Shell(folder=folder, environment=shell.environment | {"MORAG_SERVER_URL": ready_url(server)})
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=30)


def ready_url(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    line = server.stdout.readline()
    assert line.startswith("MoRAG is ready at http://127.0.0.1:"), line
    return line.split()[4]


def wait_until(holds: Callable[[], bool], timeout_s: float = 30.0) -> None:
    until = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.05)


def write(shell: Shell, name: str, text: str) -> Path:
    path = shell.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# help and errors


def test_help_names_every_command_without_loading_what_they_need() -> None:
    code = (
        "import sys\nfrom morag.cli.main import main\ntry:\n    main(['-h'])\nexcept SystemExit as end:\n"
        "    assert not end.code\n"
        "heavy = {'pydantic', 'fastapi', 'httpx2', 'rich', 'uvicorn', 'numpy'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    for command in ("serve", "process", "ingest", "search", "status", "cancel", "doctor", "backup", "reindex"):
        assert f"\n  {command} " in done.stdout
    assert "..." not in done.stdout.partition("Commands:")[2]


def test_serve_help_tells_every_setting(alone: Shell) -> None:
    told = alone.morag("serve", "--help").stdout
    assert "MORAG_MAX_UPLOAD_BYTES  [2147483648]" in told
    assert "MORAG_FETCH_ALLOW" in told


def test_the_version_is_told(alone: Shell) -> None:
    assert alone.morag("--version").stdout.startswith("morag ")


@pytest.mark.parametrize("words", [("serch", "x"), ("search",), ("ingest", "/nowhere"), ("status", "--follow"), ()])
def test_asking_wrongly_ends_with_two(alone: Shell, words: tuple[str, ...]) -> None:
    done = alone.morag(*words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("search", "x"), ("status",), ("cancel", "t")])
def test_without_a_server_the_user_is_told_how_to_start_one(alone: Shell, words: tuple[str, ...]) -> None:
    done = alone.morag(*words)
    assert done.returncode == 1
    assert "(server_unreachable)" in done.stderr
    assert "morag serve" in done.stderr


def test_errors_are_json_where_json_was_asked_for(alone: Shell) -> None:
    done = alone.morag("search", "x", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "server_unreachable"


def test_a_bad_setting_is_named(alone: Shell) -> None:
    done = alone.morag("search", "x", MORAG_PORT="many")
    assert done.returncode == 1
    assert "MORAG_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_is_not_sent_in_the_clear(alone: Shell) -> None:
    done = alone.morag("status", MORAG_SERVER_URL="http://192.0.2.1:8000", MORAG_API_KEY="mrg_secret")
    assert done.returncode == 1
    assert "(insecure_url)" in done.stderr
    assert "mrg_secret" not in done.stderr


# process: without a server


def test_process_writes_markdown_to_standard_output_and_words_elsewhere(alone: Shell) -> None:
    write(alone, "note.md", "# Tides\n\nThe tide turns at noon.\n")
    done = alone.morag("process", "note.md")
    assert (done.returncode, done.stdout) == (0, "# Tides\n\nThe tide turns at noon.\n")
    assert "note.md: done" in done.stderr


def test_process_writes_one_file_per_input_and_overwrites_none(alone: Shell) -> None:
    write(alone, "one/a.txt", "first")
    write(alone, "two/a.txt", "second")
    done = alone.morag("process", "one/a.txt", "two/a.txt", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert (alone.folder / "out" / "a.txt.md").read_text() == "first\n"
    assert (alone.folder / "out" / "a.txt-2.md").read_text() == "second\n"
    again = alone.morag("process", "one/a.txt", "two/a.txt", "-o", "out")
    assert again.returncode == 1
    assert "(would_overwrite)" in again.stderr


def test_one_failed_input_fails_the_command_and_spares_the_others(alone: Shell) -> None:
    write(alone, "good.txt", "good")
    write(alone, "empty.txt", "")
    done = alone.morag("process", "good.txt", "empty.txt", "--json")
    assert done.returncode == 1
    good, empty = json.loads(done.stdout)["results"]
    assert (good["success"], good["content"]) == (True, "good\n")
    assert (empty["success"], empty["error"]["code"]) == (False, "empty_file")


def test_an_option_that_is_not_there_is_refused_by_name(alone: Shell) -> None:
    write(alone, "a.txt", "words")
    done = alone.morag("process", "a.txt", "--option", "colour=blue")
    assert done.returncode == 1
    assert "'colour'" in done.stderr
    assert "(unknown_option)" in done.stderr


def test_a_private_address_is_not_fetched_unless_allowed(alone: Shell) -> None:
    done = alone.morag("process", "http://127.0.0.1:9/page.html")
    assert done.returncode == 1
    assert "(url_not_allowed)" in done.stderr


def test_process_leaves_nothing_behind(alone: Shell) -> None:
    write(alone, "note.md", "# Tides\n")
    temporary = alone.folder / "tmp"
    temporary.mkdir()
    assert alone.morag("process", "note.md", TMPDIR=str(temporary)).returncode == 0
    assert list(temporary.iterdir()) == []
    assert not (alone.folder / "data").exists()


# doctor


def test_doctor_tells_what_can_be_converted_here(alone: Shell) -> None:
    found = alone.json("doctor")
    formats = {entry["name"]: entry for entry in found["formats"]}
    assert formats["PDF"]["available"] is True
    assert {check["name"] for check in found["checks"]} >= {"python", "data", "disk", "files", "network", "server"}
    assert alone.morag("doctor").stdout.startswith("MoRAG ")


def test_doctor_says_what_is_bad_and_what_to_do(alone: Shell) -> None:
    blocked = write(alone, "blocked", "a file, not a folder")
    done = alone.morag("doctor", MORAG_DATA_DIR=str(blocked / "data"))
    assert done.returncode == 1
    assert "BAD" in done.stdout
    assert "Set MORAG_DATA_DIR" in done.stdout


# with a server


def test_what_was_ingested_is_found_with_its_place(served: Shell) -> None:
    write(served, "harbour.md", "# Harbour\n\n## Boats\n\nThe green launch is moored at the north steps.\n")
    done = served.morag("ingest", "harbour.md", "--metadata", "year=2025")
    assert done.returncode == 0, done.stderr
    assert "1 of 1 done, 0 failed, 0 skipped." in done.stderr
    hits = served.json("search", "Where is the launch moored?", "--metadata", "year=2025")["hits"]
    assert hits[0]["source"] == "harbour.md"
    told = served.morag("search", "Where is the launch moored?").stdout
    assert "harbour.md" in told
    assert "Boats" in told


def test_a_folder_is_ingested_with_a_word_on_what_was_left_out(served: Shell) -> None:
    write(served, "shelf/deep/one.txt", "The first shelf holds maps of the moon.")
    (served.folder / "shelf" / "program.bin").write_bytes(bytes(range(256)) * 4)
    found = served.json("ingest", "shelf")
    assert [Path(each["input"]).name for each in found["inputs"]] == ["one.txt"]
    assert [Path(each["input"]).name for each in found["skipped"]] == ["program.bin"]


def test_a_failed_ingest_says_why_and_spares_the_others(served: Shell) -> None:
    write(served, "fine.txt", "The lamp was lit at dusk.")
    write(served, "nothing.txt", "")
    done = served.morag("ingest", "fine.txt", "nothing.txt", "--json")
    assert done.returncode == 1
    fine, nothing = json.loads(done.stdout)["inputs"]
    assert fine["status"] == "completed"
    assert nothing["error"]["code"] == "empty_file"


def test_a_document_id_that_is_taken_is_refused_until_replaced(served: Shell) -> None:
    write(served, "v1.txt", "The ferry leaves at nine.")
    write(served, "v2.txt", "The ferry leaves at ten.")
    assert served.morag("ingest", "v1.txt", "--document-id", "ferry").returncode == 0
    taken = served.morag("ingest", "v2.txt", "--document-id", "ferry")
    assert taken.returncode == 1
    assert "(document_exists)" in taken.stderr
    assert served.morag("ingest", "v2.txt", "--document-id", "ferry", "--replace").returncode == 0
    hits = served.json("search", "When does the ferry leave?", "--document-id", "ferry")["hits"]
    assert [hit["text"] for hit in hits] == ["The ferry leaves at ten."]


def test_one_document_id_is_for_one_input(served: Shell) -> None:
    write(served, "a.txt", "a")
    done = served.morag("ingest", "a.txt", "a.txt", "--document-id", "x")
    assert done.returncode == 2


def test_a_submitted_task_is_followed_to_its_end(served: Shell) -> None:
    write(served, "later.txt", "The dome opens towards the south.")
    task_id = served.json("ingest", "later.txt", "--no-wait")["inputs"][0]["task_id"]
    done = served.morag("status", task_id, "--follow", "--json")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["data"]["state"] == "completed"
    told = served.morag("status", task_id).stdout
    assert "status    completed 100%" in told
    assert task_id in served.morag("status").stdout


def test_cancelling_what_has_ended_changes_nothing(served: Shell) -> None:
    write(served, "ended.txt", "It ended long ago.")
    task_id = served.json("ingest", "ended.txt")["inputs"][0]["task_id"]
    done = served.morag("cancel", task_id)
    assert done.returncode == 0
    assert "had ended before: completed" in done.stdout


def test_an_unknown_task_is_an_error_with_a_way_on(served: Shell) -> None:
    done = served.morag("status", "nobody-knows-it")
    assert done.returncode == 1
    assert "(not_found)" in done.stderr


def test_a_second_server_on_the_folder_is_refused_in_clear_words(served: Shell) -> None:
    done = served.morag("serve", "--port", "0")
    assert done.returncode == 1
    assert "(data_folder_in_use)" in done.stderr
    assert "Traceback" not in done.stderr


def test_reindex_is_refused_while_a_server_runs(served: Shell) -> None:
    done = served.morag("reindex")
    assert done.returncode == 1
    assert "(data_folder_in_use)" in done.stderr


def test_a_port_that_is_taken_is_told(served: Shell, tmp_path: Path) -> None:
    port = served.environment["MORAG_SERVER_URL"].rpartition(":")[2]
    done = served.morag("serve", "--port", port, "--data-dir", tmp_path / "other")
    assert done.returncode == 1
    assert "(cannot_listen)" in done.stderr


def test_a_backup_serves_as_a_data_folder_after_reindex(served: Shell, tmp_path: Path) -> None:
    write(served, "kept.txt", "The spare sextant lies in the attic.")
    assert served.morag("ingest", "kept.txt").returncode == 0
    copy = tmp_path / "copy"
    made = served.morag("backup", copy)
    assert made.returncode == 0, made.stderr
    reindexed = served.morag("reindex", "--json", MORAG_DATA_DIR=str(copy))
    assert reindexed.returncode == 0, reindexed.stderr
    assert json.loads(reindexed.stdout)["documents"] >= 1


# Ctrl-C


def test_interrupted_ingest_cancels_what_it_submitted(served: Shell) -> None:
    write(served, "long.md", "\n\n".join(f"# Part {n}\n\n" + f"Word {n} and more. " * 40 for n in range(3000)))
    working = served.start("ingest", "long.md")
    open_tasks = lambda: [t for t in served.json("status")["tasks"] if t["status"] in {"pending", "running", "waiting"}]  # noqa: E731
    wait_until(lambda: bool(open_tasks()))
    working.send_signal(signal.SIGINT)
    _, told = working.communicate(timeout=30)
    assert working.returncode == 130
    assert "Interrupted: 1 cancelled, 0 stored before." in told
    assert "Traceback" not in told
    assert open_tasks() == []


def test_interrupted_process_ends_its_children_and_takes_its_files_away(alone: Shell) -> None:
    write(alone, "long.md", "\n\n".join(f"# Part {n}\n\n" + "Word and more. " * 40 for n in range(60_000)))
    temporary = alone.folder / "tmp"
    temporary.mkdir()
    working = alone.start("process", "long.md", TMPDIR=str(temporary))
    wait_until(lambda: any(temporary.glob("*/work/*/*/in/*")))
    working.send_signal(signal.SIGINT)
    _, told = working.communicate(timeout=30)
    assert working.returncode == 130
    assert "Traceback" not in told
    assert list(temporary.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.killpg(working.pid, 0)


def test_a_server_drains_on_ctrl_c(alone: Shell) -> None:
    server = alone.start("serve", "--port", "0")
    ready_url(server)
    server.send_signal(signal.SIGINT)
    _, told = server.communicate(timeout=30)
    assert server.returncode == 0
    assert "MoRAG has stopped." in told
    assert "Traceback" not in told


def test_listening_for_others_is_told(alone: Shell) -> None:
    server = alone.start("serve", "--port", "0", "--host", "0.0.0.0")  # noqa: S104 - what is tested
    assert server.stdout is not None
    assert "http://localhost:" in server.stdout.readline()
    server.send_signal(signal.SIGTERM)
    _, told = server.communicate(timeout=30)
    assert server.returncode == 0
    assert "other machines can reach this server" in told
