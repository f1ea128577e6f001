from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morag.cli.inputs import Input
from morag.cli.targets import names, targets
from morag.domain.errors import Conflict


def test_the_ending_gives_way_to_md() -> None:
    assert names(["report.pdf", "letter.docx"]) == ["report.md", "letter.md"]


def test_inputs_of_one_stem_keep_their_endings() -> None:
    assert names(["a.pdf", "a.docx", "b.txt"]) == ["a.pdf.md", "a.docx.md", "b.md"]


def test_inputs_of_one_name_are_numbered() -> None:
    assert names(["a.pdf", "a.pdf", "A.pdf"]) == ["a.pdf.md", "a.pdf-2.md", "A.pdf-3.md"]


@given(st.lists(st.text(alphabet="aAb.-2", min_size=1, max_size=6), max_size=8))
def test_no_two_inputs_get_one_file(filenames: list[str]) -> None:
    assert len({name.lower() for name in names(filenames)}) == len(filenames)


def test_a_file_that_is_there_is_kept_unless_asked_otherwise(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("mine")
    inputs = [Input(name="a.pdf", path=Path("a.pdf"))]
    with pytest.raises(Conflict) as raised:
        targets(inputs, tmp_path, overwrite=False)
    assert raised.value.code == "would_overwrite"
    assert targets(inputs, tmp_path, overwrite=True) == [tmp_path / "a.md"]


def test_an_input_is_never_overwritten(tmp_path: Path) -> None:
    original = tmp_path / "notes.md"
    original.write_text("mine")
    with pytest.raises(Conflict):
        targets([Input(name="notes.md", path=original)], tmp_path, overwrite=True)
