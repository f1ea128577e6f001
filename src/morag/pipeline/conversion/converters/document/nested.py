"""Files within a file: what is attached to a mail or lies in an archive, converted in its turn by the registry."""

from dataclasses import replace

from morag.domain.content import Document
from morag.domain.errors import ConversionError
from morag.pipeline.conversion.detect import detect
from morag.pipeline.conversion.registry import convert
from morag.pipeline.ports import ConversionInput

MAX_DEPTH = 3
"""Files within files that are opened."""


def convert_within(given: ConversionInput, content: bytes, *, at: int, name: str, media_type: str | None) -> Document:
    """Number `at` of the files within `given` as a document; its options are the defaults, as none are meant for it.

    Raises ConversionError.
    """
    if given.depth >= MAX_DEPTH:
        raise ConversionError("It lies too deep in other files.", code="too_deep")
    work_dir = given.work_dir / f"within-{at}"
    work_dir.mkdir(parents=True)
    path = work_dir.with_suffix(".bin")  # the name inside is shown to people, never used
    path.write_bytes(content)
    try:
        inner = replace(
            given,
            path=path,
            filename=name,
            detected=detect(path, filename=name, media_type=media_type),
            url=None,
            options={},
            work_dir=work_dir,
            depth=given.depth + 1,
        )
        return convert(inner, lambda _fraction, _stage, _message: None)
    finally:
        path.unlink()
