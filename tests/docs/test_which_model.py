"""The page that compares the models has every kind, and no figure that no measured page has."""

import re
from pathlib import Path

import pytest

from crossan.train.settings.kinds import _BUILT_IN

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "howto" / "which-model.md"
SECTIONS = dict(
    re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.M | re.S)
)
MEASURED = [name for name in SECTIONS if name.startswith(("Real data", "All kinds"))]
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w])")


def rows_of(section):
    """Return the cells of each row of the tables in a section, without head and rule."""
    lines = [line for line in SECTIONS[section].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def sources_of(section):
    """Return the text of the pages of measurements that a section links to."""
    links = re.findall(r"\]\(\.\./(benchmarks/[\w-]+\.md)", SECTIONS[section])
    assert links
    return "\n".join((DOCS / link).read_text(encoding="utf-8") for link in dict.fromkeys(links))


@pytest.mark.parametrize("section", MEASURED)
def test_every_figure_of_a_table_stands_in_a_page_that_the_section_names(section):
    known = set(NUMBER.findall(sources_of(section).replace("%", "")))
    figures = [
        number for row in rows_of(section) for cell in row for number in NUMBER.findall(cell)
    ]
    assert len(figures) > 20
    assert [figure for figure in figures if figure not in known] == []


@pytest.mark.parametrize("section", MEASURED)
def test_a_row_has_the_figures_of_one_row(section):
    """The first two figures of a kind stand in one line of a measured page."""
    lines = [line.replace("%", "") for line in sources_of(section).splitlines()]
    for row in rows_of(section):
        pair = [NUMBER.findall(cell)[0] for cell in row[1:3]]
        assert any({*pair} <= {*NUMBER.findall(line)} for line in lines), row


def test_every_built_kind_is_explained():
    explained = {
        kind for row in rows_of("What each kind is") for kind in re.findall(r"`([\w-]+)`", row[0])
    }
    assert explained == {*_BUILT_IN}
