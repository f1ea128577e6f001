"""Office Open XML packages: parts, relations and properties of DOCX and PPTX files, read straight from the archive.

Macro-enabled, template and strict variants differ in content types and namespaces that libraries insist on; here they
read alike.
"""

import posixpath
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

from lxml import etree
from lxml.etree import _Element as Element  # pyright: ignore[reportPrivateUsage] - lxml has no public name for it

from morag.domain.json import JsonObject
from morag.pipeline.conversion.sources import broken

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_RELATIONS = "{http://schemas.openxmlformats.org/package/2006/relationships}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_DCTERMS = "{http://purl.org/dc/terms/}"
_STRICT = (
    (b"http://purl.oclc.org/ooxml/officeDocument/", b"http://schemas.openxmlformats.org/officeDocument/2006/"),
    (b"http://purl.oclc.org/ooxml/wordprocessingml/", b"http://schemas.openxmlformats.org/wordprocessingml/2006/"),
    (b"http://purl.oclc.org/ooxml/presentationml/", b"http://schemas.openxmlformats.org/presentationml/2006/"),
    (b"http://purl.oclc.org/ooxml/drawingml/", b"http://schemas.openxmlformats.org/drawingml/2006/"),
)
_PROPERTIES = MappingProxyType(
    {
        "title": f"{_DC}title",
        "author": f"{_DC}creator",
        "subject": f"{_DC}subject",
        "created_at": f"{_DCTERMS}created",
        "modified_at": f"{_DCTERMS}modified",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A link from a part to another, or out of the file."""

    kind: str
    """The last word of its type: `slide`, `hyperlink`, `notesSlide`, …"""
    target: str
    """The name of a part, or a URL if `is_external`."""
    is_external: bool


class Package:
    """An open package; use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self._archive = zipfile.ZipFile(path)
        self._names = {info.filename.replace("\\", "/").lstrip("/").lower(): info for info in self._archive.infolist()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    @property
    def main(self) -> str:
        """The name of the part that everything hangs from. Raises ConversionError."""
        for relation in self.relations("").values():
            if relation.kind == "officeDocument":
                return relation.target
        raise broken("The file is no complete Office file: its main part is missing.")

    def xml(self, name: str) -> Element | None:
        """A part as a tree; None if there is no such part. Entities are not resolved. Raises ConversionError."""
        info = self._names.get(name.lower())
        if info is None:
            return None
        try:
            raw = self._archive.read(info)
        except (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error) as error:
            raise broken("A part of the Office file cannot be unpacked.") from error
        if b"purl.oclc.org/ooxml" in raw[:4096]:
            for strict, usual in _STRICT:
                raw = raw.replace(strict, usual)
        parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True, remove_comments=True)
        return etree.fromstring(raw, parser)

    def required(self, name: str) -> Element:
        """A part that must be there, as a tree. Raises ConversionError."""
        found = self.xml(name)
        if found is None:
            raise broken("The file is no complete Office file: a part of it is missing.")
        return found

    def relations(self, name: str) -> dict[str, Relation]:
        """The relations of a part by id; those of the package for ""."""
        folder, base = posixpath.split(name)
        tree = self.xml(posixpath.join(folder, "_rels", f"{base}.rels"))
        if tree is None:
            return {}
        return {entry.get("Id", ""): _relation(entry, folder) for entry in tree.iter(f"{_RELATIONS}Relationship")}

    def related(self, name: str, kind: str) -> Element | None:
        """The first part of that kind that `name` points at."""
        found = (relation.target for relation in self.relations(name).values() if relation.kind == kind)
        target = next(found, None)
        return self.xml(target) if target is not None else None

    def properties(self) -> JsonObject:
        """Title, author and dates, as far as they are filled in."""
        tree = self.xml("docProps/core.xml")
        if tree is None:
            return {}
        found = ((name, tree.findtext(tag)) for name, tag in _PROPERTIES.items())
        return {name: text.strip() for name, text in found if text and text.strip()}


def _relation(entry: Element, folder: str) -> Relation:
    is_external = entry.get("TargetMode") == "External"
    target = entry.get("Target", "")
    if not is_external:
        target = target.lstrip("/") if target.startswith("/") else posixpath.normpath(posixpath.join(folder, target))
    return Relation(kind=entry.get("Type", "").rsplit("/", 1)[-1], target=target, is_external=is_external)
