"""Where `morag process -o` writes each input's Markdown: no two inputs to one file, no file overwritten unasked."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath

from morag.cli.inputs import Input
from morag.domain.errors import Conflict


def targets(inputs: Sequence[Input], folder: Path, *, overwrite: bool) -> list[Path]:
    """The file of each input, in order. Raises Conflict: `would_overwrite`."""
    chosen = [folder / name for name in names([given.filename for given in inputs])]
    originals = {given.path.resolve() for given in inputs if given.path}
    for path in chosen:
        if path.resolve() in originals:
            raise _conflict(f"{path} is one of the inputs.", "Name another folder.")
        if path.exists() and not overwrite:
            raise _conflict(f"{path} is there already.", "Name another folder, or add --overwrite.")
    return chosen


def names(filenames: Sequence[str]) -> list[str]:
    """`a.pdf` becomes `a.md`; beside `a.docx` both keep their ending, and equal names are numbered."""
    stems = Counter(_stem(name).lower() for name in filenames)
    wanted = [_stem(name) if stems[_stem(name).lower()] == 1 else name for name in filenames]
    taken: set[str] = set()
    return [_free(name, taken) for name in wanted]


def _free(name: str, taken: set[str]) -> str:
    candidate, n = name, 1
    while candidate.lower() in taken:
        n += 1
        candidate = f"{name}-{n}"
    taken.add(candidate.lower())
    return f"{candidate}.md"


def _stem(name: str) -> str:
    return PurePath(name).stem or name


def _conflict(message: str, hint: str) -> Conflict:
    return Conflict(message, code="would_overwrite", hint=hint)
