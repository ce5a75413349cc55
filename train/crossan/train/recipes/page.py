"""The page ``docs/recipes.md``, which has every recipe."""

from __future__ import annotations

from crossan.train.recipes.catalogue import all_recipes
from crossan.train.recipes.printing import figure_text, reading_text
from crossan.train.recipes.recipe import Recipe
from crossan.train.recipes.state import is_built

__all__ = ["recipes_page"]

_HEAD = """\
# Recipes

Every row of the paper's tables and every point of its curves as a run, the lines that the paper
does not print, and the rows of [quality](benchmarks/quality.md). Made by `crossan recipe ls --markdown > docs/recipes.md`; a test fails while
this page is out of date.

`crossan recipe show NAME` prints the settings, the tolerance and what is missing here,
`crossan recipe cp NAME FILE` writes a `config.toml`, and `--sweep` the search space of section 5.
`crossan recipe run NAME --scale sample` runs any of them in seconds on the built-in sample. How a
row is reproduced on the real data: [reproduce the paper](howto/reproduce-the-paper.md); a row that is
made of other runs or refits one: [the rows of quality](howto/reproduce-the-paper.md#the-rows-of-quality).

Figures are HR@10 / NDCG@10 on the test items, those with a star our own. A run on the row's data
counts as reproduced where HR@10, NDCG@10, HR@20 and NDCG@20 are within the 95 % interval of a mean
over the users, 1.96 sqrt(m (1 - m) / users) for a figure m, plus twice the spread between seeds
(0.0010 for HR and 0.0008 for NDCG, [measured](benchmarks/quality.md)) where weights are learned:
0.0029 for an HR@10 of 0.1033 on 100,000 users. Numbers of parameters are to be equal.
"""


def recipes_page() -> str:
    """Return the whole page."""
    parts = [_HEAD]
    by_table: dict[str, list[Recipe]] = {}
    for recipe in all_recipes().values():
        by_table.setdefault(recipe.name.partition("/")[0], []).append(recipe)
    for table, recipes in by_table.items():
        parts.append(_table_text(table, recipes))
    return "\n".join(parts)


def _table_text(table: str, recipes: list[Recipe]) -> str:
    lines = [f"## {table}: {recipes[0].title}", ""]
    shared = [note for note in recipes[0].notes if all(note in one.notes for one in recipes)]
    lines += [*(f"- {note}" for note in shared), *([""] if shared else [])]
    columns = ["recipe", "row", "reads", "figure", "split", "here", "notes"]
    lines += [_row(columns), _row(["---"] * len(columns))]
    lines += [_row(_cells(recipe, shared)) for recipe in recipes]
    return "\n".join(lines) + "\n"


def _cells(recipe: Recipe, shared: list[str]) -> list[str]:
    notes = [note for note in recipe.notes if note not in shared]
    if recipe.same_run is not None:
        notes.append(f"the same run as `{recipe.same_run}`")
    return [
        f"`{recipe.name}`",
        recipe.row,
        reading_text(recipe),
        figure_text(recipe),
        recipe.protocol,
        "built" if is_built(recipe) else "model not built",
        "; ".join(notes),
    ]


def _row(cells: list[str]) -> str:
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"
