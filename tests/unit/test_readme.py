from pathlib import Path

import pytest

from morag.pipeline.conversion.formats import FORMATS, Format

README = (Path(__file__).parents[2] / "README.md").read_text()
TABLE = README[README.index("## What it converts") : README.index("## What you can rely on")]


@pytest.mark.parametrize("entry", FORMATS, ids=lambda entry: entry.name)
def test_the_readme_names_every_format(entry: Format) -> None:
    name = entry.name.removesuffix(" 97-2003")
    words = [word for word in name.replace("OpenDocument ", "").split(", ") if word]
    assert all(word.lower() in TABLE.lower() for word in words)


def test_the_readme_names_the_two_commands() -> None:
    assert "make demo" in README
    assert "make test" in README


@pytest.mark.parametrize(
    "page", ["docs/architecture.md", "docs/reference/settings.md", "docs/explanation/conversion.md"]
)
def test_pages_the_readme_links_to_exist(page: str) -> None:
    assert f"({page})" in README
    assert (Path(__file__).parents[2] / page).exists()
