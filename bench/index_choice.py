"""Which embedded index: qdrant-edge, or SQLite with sqlite-vec and FTS5, with tantivy beside it for the words.

    python bench/index_choice.py [--chunks 50000] [--others 20]

One user with 50,000 chunks beside 20 with 2,500 each. Each candidate runs in processes of its own: one writes, one
asks, and five writers are killed with SIGKILL and their points counted. docs/adr/0002-embedded-index.md has the
figures that decided. Needs `sqlite-vec` and `tantivy` besides what MoRAG needs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

from parts.candidates import BATCH, CANDIDATES, NEEDS, Candidate
from parts.corpus import Corpus, Row
from parts.timing import disk_mib, percentiles, rss_mib, seconds, table

KILLS = 5


def main() -> None:
    """Measure every candidate and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--chunks", type=int, default=50_000)
    parser.add_argument("--others", type=int, default=20)
    parser.add_argument("--step", choices=["write", "ask", "crash"])
    parser.add_argument("--candidate", choices=list(CANDIDATES))
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.step:
        candidate = CANDIDATES[given.candidate](given.folder)
        step = {"write": _write, "ask": _ask, "crash": _crash}[given.step]
        step(candidate, given)
        return
    results = {name: _measure(name, given) for name in CANDIDATES if _is_installed(name)}
    first = results[next(iter(results))]
    heads = ["", *results]
    rows = [[key, *(_cell(results[name], first, key) for name in results)] for key in first]
    table(heads, rows)


def _is_installed(name: str) -> bool:
    missing = [module for module in NEEDS[name] if find_spec(module) is None]
    if missing:
        print(f"{name} is left out: {' and '.join(missing)} not installed", file=sys.stderr)
    return not missing


def _cell(result: dict[str, float], first: dict[str, float], key: str) -> str:
    if key not in result:
        return "-"
    ratio = f" ({result[key] / first[key]:.1f}x)" if result is not first and first[key] else ""
    return f"{result[key]:,.2f}{ratio}"


def _measure(name: str, given: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="index-choice-") as folder:
        base = [
            sys.executable, __file__, "--candidate", name, "--folder", folder,
            "--chunks", str(given.chunks), "--others", str(given.others),
        ]  # fmt: skip
        result: dict[str, float] = {}
        for step in ("write", "ask"):
            done = subprocess.run([*base, "--step", step], check=True, stdout=subprocess.PIPE, text=True)
            result |= json.loads(done.stdout)
        result["disk MiB"] = disk_mib(Path(folder))
    with tempfile.TemporaryDirectory(prefix="index-crash-") as folder:
        command = [sys.executable, __file__, "--candidate", name, "--folder", folder, "--step", "crash"]
        acknowledged = sum(_killed(command, life) for life in range(KILLS))
        survivors = CANDIDATES[name](Path(folder)).count("big")
        result["points lost in 5 kills"] = max(acknowledged - survivors, 0)
    print(name, json.dumps(result), file=sys.stderr)
    return result


def _killed(command: list[str], life: int) -> int:
    """Points acknowledged by a writer until it was killed."""
    with subprocess.Popen([*command, "--chunks", str(life)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None  # noqa: S101 - it was asked for
        lines = [writer.stdout.readline() for _ in range(20 + 7 * life)]
        writer.kill()
        lines += writer.stdout.read().split("\n")[:-1]
    return BATCH * len([line for line in lines if line.strip()])


def _crash(candidate: Candidate, given: argparse.Namespace) -> None:
    """Write for ever, a line for each batch that is durable; `chunks` tells the lives apart."""
    corpus = Corpus(given.chunks)
    batch: list[Row] = []
    for row in corpus.rows("big", 10**9, per_document=BATCH):
        batch.append(row)
        if len(batch) == BATCH:
            candidate.add(batch, generation=f"life {given.chunks}")
            print(row.index, flush=True)
            batch = []


def _write(candidate: Candidate, given: argparse.Namespace) -> None:
    corpus, spent, count = Corpus(), 0.0, 0
    users = [(f"user{n}", 2_500) for n in range(given.others)] + [("big", given.chunks)]
    for user_id, chunks in users:
        rows = list(corpus.rows(user_id, chunks))
        for start in range(0, chunks, BATCH):
            begun = perf_counter()
            candidate.add(rows[start : start + BATCH], generation="g")
            spent += perf_counter() - begun
        count += chunks
    finishing = seconds(candidate.finish)
    candidate.close()
    print(json.dumps({"durable adds/s": count / spent, "build s": spent + finishing}))


def _ask(candidate: Candidate, _given: argparse.Namespace) -> None:
    idle, corpus = rss_mib(), Corpus(seed=2)
    first_count = seconds(lambda: candidate.count("big"))
    result = {"open s": first_count, "RSS opened +MiB": rss_mib() - idle}
    asked: dict[str, str | None] = {"": None, " one language": "en"}
    for what, language in asked.items():
        dense = percentiles(lambda language=language: candidate.dense("big", corpus.vectors(1)[0], language))
        words = percentiles(lambda language=language: candidate.keyword("big", corpus.text(8), language))
        result |= {f"dense{what} p50 ms": dense[0], f"dense{what} p99 ms": dense[1]}
        result |= {f"keyword{what} p50 ms": words[0], f"keyword{what} p99 ms": words[1]}
    result["RSS after searches +MiB"] = rss_mib() - idle
    print(json.dumps(result))


if __name__ == "__main__":
    main()
