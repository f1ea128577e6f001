"""What a user named on the command line, as inputs one by one: files, URLs, and the files of folders."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import typer

from morag.cli.addresses import without_credentials
from morag.domain.errors import ConversionError
from morag.domain.json import Json, JsonObject
from morag.pipeline.conversion.detect import detect
from morag.pipeline.conversion.registry import OPTIONS

_YOUTUBE = ("youtube.com", "youtu.be", "youtube-nocookie.com")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,9})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A file or a URL; exactly one of `path` and `url` is set."""

    name: str
    """As the user will recognise it."""
    path: Path | None = None
    url: str | None = None

    @property
    def filename(self) -> str:
        """What a file of it would be called."""
        if self.path:
            return self.path.name
        parts = urlsplit(self.url or "")
        return unquote(parts.path).rstrip("/").rpartition("/")[2] or parts.hostname or "page"

    @property
    def is_youtube(self) -> bool:
        """Whether it is a page of YouTube's: those are not fetched but asked for captions or sound."""
        host = (urlsplit(self.url).hostname or "") if self.url else ""
        return any(host == name or host.endswith(f".{name}") for name in _YOUTUBE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A file of a folder that is left out."""

    name: str
    reason: str


def is_url(word: str) -> bool:
    """Whether a word of the command line is an address."""
    return word.lower().startswith(("http://", "https://"))


def named(words: Sequence[str]) -> list[Input]:
    """Files and URLs. Raises BadParameter for what is not there, and for folders."""
    inputs = [_one(word) for word in words]
    for given in inputs:
        if given.path and given.path.is_dir():
            raise typer.BadParameter(f"{given.name} is a folder; name the files in it, or use `morag ingest`.")
    return inputs


def gathered(words: Sequence[str]) -> tuple[list[Input], list[Skipped]]:
    """Files, URLs, and what can be converted in folders and below. Raises BadParameter for what is not there."""
    inputs: list[Input] = []
    skipped: list[Skipped] = []
    for given in map(_one, words):
        if given.path and given.path.is_dir():
            for path in _files(given.path):
                _sort(path, inputs, skipped)
        else:
            inputs.append(given)
    return inputs, skipped


def metadata_of(words: Sequence[str]) -> JsonObject:
    """`k=v` words as an object: true, false and plain numbers as such, all else as text. Raises BadParameter."""
    return {name: _value(text) for name, text in _pairs(words, "--metadata")}


def options_of(words: Sequence[str]) -> JsonObject:
    """`k=v` words as converter options, each of the type its option has. Raises BadParameter."""
    kinds = {option.name: option.kind for options in OPTIONS.values() for option in options}
    return {name: text if kinds.get(name) is str else _value(text) for name, text in _pairs(words, "--option")}


def _pairs(words: Sequence[str], option: str) -> Iterator[tuple[str, str]]:
    for word in words:
        name, sign, text = word.partition("=")
        if not sign or not name:
            raise typer.BadParameter(f"{word!r} is not of the form name=value.", param_hint=option)
        yield name, text


def _value(text: str) -> Json:
    """01234 stays text: only what reads back the same is a number."""
    if text in {"true", "false"}:
        return text == "true"
    return json.loads(text) if _NUMBER.fullmatch(text) else text


def _one(word: str) -> Input:
    if is_url(word):
        return Input(name=without_credentials(word), url=word)
    path = Path(word)
    if not path.exists():
        raise typer.BadParameter(f"There is no file {without_credentials(word)}.")
    if not path.is_dir() and not path.is_file():
        raise typer.BadParameter(f"{word} is neither a file nor a folder.")
    if not os.access(path, os.R_OK):
        raise typer.BadParameter(f"{word} may not be read.")
    return Input(name=word, path=path)


def _files(folder: Path) -> Iterator[Path]:
    """The files below, in order; what is hidden stays so, links to folders are not followed."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in sorted(names) if not name.startswith("."))


def _sort(path: Path, inputs: list[Input], skipped: list[Skipped]) -> None:
    reason = _reason_against(path)
    if reason:
        skipped.append(Skipped(name=str(path), reason=reason))
    else:
        inputs.append(Input(name=str(path), path=path))


def _reason_against(path: Path) -> str | None:
    if not path.is_file():
        return "It is not a regular file."
    try:
        detect(path, filename=path.name)
    except ConversionError as error:
        return error.message
    except OSError as error:
        return f"It cannot be read: {error.strerror}."
    return None
