"""The embedded index after its process was killed in the middle of writing."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from morag.domain.content import Generation
from morag.pipeline.ports import Filters
from morag.storage.vectors.embedded import EmbeddedIndex

WRITER = """
import sys
from pathlib import Path
from morag.domain.content import Chunk, ContentType, Generation, Place
from morag.pipeline.ports import Point
from morag.storage.vectors.embedded import EmbeddedIndex

folder, life = Path(sys.argv[1]), sys.argv[2]
index = EmbeddedIndex(folder, dimensions=8)
n = 0
while True:
    batch = [
        Point(
            user_id="ann",
            generation=Generation(document_id=f"{life}-{n}", task_id="task", fence=1),
            chunk=Chunk(index=i, text=f"life {life} batch {n} word{i}", text_start=0, text_end=1, place=Place()),
            vector=[1.0, i / 10, 0, 0, 0, 0, 0, 0],
            content_type=ContentType.DOCUMENT,
            metadata={},
        )
        for i in range(10)
    ]
    index.add(batch)
    print(f"{life}-{n}", flush=True)
    n += 1
"""


def acknowledged_before_kill(folder: Path, life: int, *, batches: int) -> set[str]:
    """Documents whose `add` returned before the writer was killed, which is while it writes on."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(life)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    acknowledged = {writer.stdout.readline().strip() for _ in range(batches)}
    os.kill(writer.pid, signal.SIGKILL)
    rest, _ = writer.communicate()
    assert writer.returncode == -signal.SIGKILL
    return acknowledged | {line for line in rest.split("\n")[:-1] if line}


def points_by_document(index: EmbeddedIndex, generations: Mapping[Generation, str]) -> dict[str, int]:
    return {
        generation.document_id: len(
            index.dense("ann", [1.0] + [0.0] * 7, limit=100, filters=Filters(document_id=generation.document_id))
        )
        for generation in generations
    }


def test_every_acknowledged_point_outlives_five_kills_while_writing(tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    for life in range(5):
        acknowledged |= acknowledged_before_kill(tmp_path / "index", life, batches=7 + 5 * life)
    index = EmbeddedIndex(tmp_path / "index", dimensions=8)
    found = points_by_document(index, index.generations())
    assert {document: found.get(document) for document in acknowledged} == dict.fromkeys(acknowledged, 10)
    assert index.count("ann") == sum(found.values())
    for document in sorted(acknowledged)[::20]:
        life, batch = document.split("-")
        words = index.keyword("ann", f"life {life} batch {batch}", limit=10, filters=Filters(document_id=document))
        assert len(words) == 10, json.dumps(document)
    index.close()


def test_a_folder_whose_making_was_cut_off_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    EmbeddedIndex(folder, dimensions=8).count("ann")
    (folder / "ready").unlink()
    index = EmbeddedIndex(folder, dimensions=8)
    assert index.count("ann") == 0
    index.close()
