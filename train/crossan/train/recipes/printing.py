"""Recipes and verdicts as a person reads them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from crossan.common.console import Column, print_fields, print_table, print_text
from crossan.train.recipes.expected import JUDGED, tolerance
from crossan.train.recipes.extraction import extract_commands
from crossan.train.recipes.recipe import Recipe
from crossan.train.recipes.state import State

__all__ = [
    "as_record",
    "figure_text",
    "print_list",
    "print_recipe",
    "print_verdict",
    "reading_text",
]


def figure_text(recipe: Recipe) -> str:
    """Return the figure of a row in a few words: HR@10 and NDCG@10, or its parameters."""
    figures = recipe.figures
    if "hr@10" in figures:
        return f"{figures['hr@10']:.4f} / {figures['ndcg@10']:.4f}{' *' * recipe.is_ours}"
    if "parameters" in figures:
        return f"{figures['parameters']:,} params"
    if recipe.is_ours:
        return "not measured"
    return "not printed" if recipe.curve is None else "plotted only"


def reading_text(recipe: Recipe) -> str:
    """Return what a row reads: the stores that it names, or modalities, or other runs."""
    if recipe.of:
        return "its runs"
    stores = ", ".join(source.backbone.rpartition("/")[2] for source in recipe.stores)
    modalities = ", ".join(recipe.modality) or "no content"
    return f"{modalities} by {stores}" if stores else modalities


def print_list(recipes: Sequence[Recipe], states: Mapping[str, State]) -> None:
    """Print a line for each recipe, at most 80 columns wide."""
    print_table(
        [
            Column("recipe", is_whole=True),
            Column("HR@10 / NDCG@10", is_whole=True),
            Column("split", is_whole=True),
            Column("here", is_whole=True),
        ],
        [
            [recipe.name, figure_text(recipe), recipe.protocol, states[recipe.name].name]
            for recipe in recipes
        ],
    )
    if any(recipe.is_ours and recipe.figures for recipe in recipes):
        print_text("* our own figure; the others are the paper's")


def print_recipe(recipe: Recipe, state: State, dataset: Path, cache: Path) -> None:
    """Print the facts of a recipe, without its settings.

    Parameters
    ----------
    recipe, state
        The recipe and whether it can be run here.
    dataset, cache
        Folders that the commands shall name.
    """
    whose = "our figures" if recipe.is_ours else "paper's figures"
    fields = [
        ("recipe", recipe.name),
        ("source", recipe.source),
        ("model", f"{recipe.model} (model.kind={recipe.kind})"),
        ("reads", reading_text(recipe)),
        (whose, _figures(recipe) or "none"),
        ("split", recipe.protocol),
        ("here", state.name),
        *(("missing", line) for line in state.missing),
        *(("note", line) for line in recipe.notes),
    ]
    runs = ", ".join(f"{name} ({recipe.of.count(name)})" for name in dict.fromkeys(recipe.of))
    fields += [("made of runs of", runs)] if runs else []
    fields += [("refits", recipe.refits)] if recipe.refits is not None else []
    if recipe.same_run is not None:
        fields.append(("same run as", recipe.same_run))
    if recipe.curve is not None:
        fields.append(("point of", recipe.curve))
    commands = extract_commands(recipe, dataset, cache)
    fields += [("features by", shlex.join(command)) for command in commands]
    print_fields(fields)


def print_verdict(record: Mapping[str, Any]) -> None:
    """Print what came of a run that followed a recipe.

    Parameters
    ----------
    record
        ``recipe.json`` with its verdict.
    """
    verdict = record["verdict"]
    if verdict["outcome"] == "none":
        print_text(f"recipe {record['name']}: no verdict: {verdict['why']}")
        return
    whose = "our own figures" if record["is_ours"] else "the paper's figures"
    print_text(f"recipe {record['name']} ({record['source']}): {verdict['outcome']}")
    names = ("expected", "found", "difference", "allowed")
    print_table(
        [Column("figure"), *(Column(name, is_number=True) for name in names)],
        [[name, *_numbers(one)] for name, one in verdict["differences"].items()],
        title=f"against {whose}",
    )
    for modality, backbone in verdict["backbones"].items():
        print_text(f"{modality} features are by {backbone}, not by the row's backbone")


def as_record(recipe: Recipe, state: State) -> dict[str, Any]:
    """Return what ``--json`` prints of a recipe."""
    return {
        "name": recipe.name,
        "title": recipe.title,
        "source": recipe.source,
        "model": recipe.kind,
        "dataset": recipe.dataset.title,
        "modality": list(recipe.modality),
        "protocol": recipe.protocol,
        "figures": dict(recipe.figures),
        "is_ours": recipe.is_ours,
        "tolerances": {n: tolerance(recipe, n) for n in recipe.figures if n in JUDGED},
        "settings": dict(recipe.settings),
        "defining": sorted(recipe.defining),
        "title_tokens": recipe.title_tokens,
        "stores": [asdict(source) for source in recipe.stores],
        "of": list(recipe.of),
        "refits": recipe.refits,
        "same_run": recipe.same_run,
        "curve": recipe.curve,
        "notes": list(recipe.notes),
        "state": state.name,
        "missing": list(state.missing),
    }


def _figures(recipe: Recipe) -> str:
    """Return all figures with what a run may differ by."""
    words = []
    for name, figure in recipe.figures.items():
        shown = f"{figure:,}" if figure >= 1 else f"{figure:.4f}"
        allowed = f" +- {tolerance(recipe, name):.4f}" if name in JUDGED else ""
        words.append(f"{name} {shown}{allowed}")
    return ", ".join(words)


def _numbers(one: Mapping[str, float]) -> list[str]:
    if one["expected"] >= 1:
        return [f"{one[name]:,.0f}" for name in ("expected", "found", "difference", "tolerance")]
    return [
        f"{one['expected']:.4f}",
        f"{one['found']:.4f}",
        f"{one['difference']:+.4f}",
        f"{one['tolerance']:.4f}",
    ]
