"""The tutorial does what it says: its shell and Python blocks are run in order against a real server."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs/tutorial/getting-started.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TUTORIAL, flags=re.DOTALL | re.MULTILINE)


def test_the_tutorial_runs_from_top_to_bottom(
    start_server: Callable[..., tuple[str, "subprocess.Popen[str]"]], tmp_path: Path
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    data = str(tmp_path / "data")
    address, _ = start_server(MORAG_DATA_DIR=data)
    environment = {
        **os.environ,
        "MORAG_SERVER_URL": address,
        "MORAG_DATA_DIR": data,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }

    def told_by(*command: str) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True, timeout=100
        )
        return done.stdout

    one, several, answers, _ = (told_by("bash", "-euo", "pipefail", "-c", block) for block in blocks("sh"))
    assert "# The new lens of the great lamp" in one
    assert "| Total | 32475 |" in several
    assert "report.pdf" in answers
    assert "page 1" in answers
    assert (tmp_path / "saved" / "morag.db").exists()

    program = told_by(sys.executable, "-c", "\n".join(blocks("python")))
    assert "# Plans for 2026" in program
    assert '"completed"' in program
    assert "letter.docx " in program
