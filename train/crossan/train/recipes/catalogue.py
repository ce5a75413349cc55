"""All recipes, read from the tables in this package."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

from crossan.cache_schema.errors import UsageError
from crossan.train.recipes.recipe import DATASETS, LEAVE_LAST_OUT, Recipe, StoreSource

__all__ = ["all_recipes", "find_recipe", "matching", "require_one_training", "sources_of"]

_TABLES = (
    "table1", "table3", "table4", "table5", "table6", "table7", "table8",
    "fig3", "fig5", "baselines", "quality",
)  # fmt: skip
_MODALITIES = {"T": "text", "I": "image", "V": "video", "A": "audio"}
_BORROWED = (
    "a figure of MHCR's own table, and so very probably of MMRec's random split: not comparable"
    " with the rows under leave-last-out; its features were MiniLM's of titles and tags, ViT's and"
    " Video Swin's, and here they are of the paper's backbones"
)
_OF_A_RUN = ("settings", "dataset", "title_tokens", "stores", "of", "refits")
"""Two rows with the same of all these are one run."""
_ALWAYS_DEFINING = ("model.kind", "data.modality", "data.split")


@cache
def all_recipes() -> Mapping[str, Recipe]:
    """Return every recipe by name, in the order of the paper, the baselines last."""
    models = _read("models")
    recipes: dict[str, Recipe] = {}
    for table in _TABLES:
        for recipe in _recipes_of(table, _read(table), models):
            assert recipe.name not in recipes, recipe.name
            recipes[recipe.name] = replace(recipe, same_run=_same_run(recipe, recipes.values()))
    return recipes


def find_recipe(name: str) -> Recipe:
    """Return the recipe of this name.

    Raises
    ------
    UsageError
        There is none; the message names the nearest.
    """
    recipes = all_recipes()
    if name in recipes:
        return recipes[name]
    from crossan.common.config import nearest

    points = [recipe.name for recipe in recipes.values() if recipe.curve == name]
    if points:
        raise UsageError(
            f"{name}: expected a recipe, found a curve of {len(points)} of them, from {points[0]}"
            f" to {points[-1]}",
            remedy=f"crossan recipe ls {name}",
        )
    close = nearest(name, list(recipes))
    hint = f"; did you mean '{close}'?" if close else ""
    raise UsageError(f"{name}: no such recipe{hint}", remedy="crossan recipe ls")


def matching(text: str | None) -> list[Recipe]:
    """Return the recipes with a text in their name, all of them for None.

    Raises
    ------
    UsageError
        There is none.
    """
    recipes = [recipe for recipe in all_recipes().values() if text is None or text in recipe.name]
    if not recipes:
        raise UsageError(
            f"{text}: expected a part of a recipe's name, such as"
            f" {', '.join((*_TABLES[:2], '50k'))}; found none with it",
            remedy="crossan recipe ls",
        )
    return recipes


def require_one_training(recipe: Recipe) -> None:
    """Refuse a recipe that needs the runs of others, where one training is all that is done.

    Raises
    ------
    UsageError
        It does.
    """
    if recipe.of or recipe.refits is not None:
        what = f"a refit of {recipe.refits}" if recipe.refits else f"made of {_names_of(recipe)}"
        raise UsageError(
            f"{recipe.name}: expected a recipe of one training, found one that is {what}",
            remedy=f"crossan recipe run {recipe.name} --out FOLDER",
        )


def _names_of(recipe: Recipe) -> str:
    counts = {name: recipe.of.count(name) for name in recipe.of}
    return ", ".join(
        f"{count} runs of {name}" if count > 1 else f"a run of {name}"
        for name, count in counts.items()
    )


def sources_of(recipe: Recipe) -> tuple[StoreSource, ...]:
    """Return the stores that a recipe names, or that those it is made of name, each once."""
    members = (all_recipes()[name] for name in recipe.of)
    return recipe.stores or tuple(
        dict.fromkeys(source for member in members for source in member.stores)
    )


def _read(table: str) -> dict[str, Any]:
    text = (files(__package__) / "tables" / f"{table}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _recipes_of(
    table: str, content: Mapping[str, Any], models: Mapping[str, Any]
) -> Iterator[Recipe]:
    for entry in (*content.get("rows", ()), *_points(content)):
        row = _with_the_refitted(entry, content)
        figures = row.get("figures", {})
        for key in row.get("datasets", content.get("datasets", figures)):
            by_dataset = f"{key}-" if key != content.get("unnamed_dataset") else ""
            yield _recipe(f"{table}/{by_dataset}", row, key, content, models)


def _with_the_refitted(row: Mapping[str, Any], content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row with what a refit shares with the row that is refitted, all but its figures."""
    if "refits" not in row:
        return row
    refitted = next(other for other in content["rows"] if other["name"] == row["refits"])
    return {**refitted, "figures": {}, **row}


def _same_run(recipe: Recipe, before: Iterable[Recipe]) -> str | None:
    """Return the first recipe that is the same run, None where this one is the first."""
    for other in before:
        if all(getattr(other, name) == getattr(recipe, name) for name in _OF_A_RUN):
            return other.name
    return None


def _points(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row for every point of every curve."""
    for curve in content.get("curves", ()):
        for value in curve["values"]:
            yield {
                **curve,
                "name": f"{curve['name']}-{value}",
                "row": curve["row"].format(value=value),
                "settings": {name: _number(value) for name in curve["settings"]},
                "curve": curve["name"],
            }


def _number(value: int | str) -> int | float:
    # Rates are texts in the tables, so that names have them as the paper writes them.
    return float(value) if isinstance(value, str) else value


def _recipe(
    prefix: str,
    row: Mapping[str, Any],
    key: str,
    table: Mapping[str, Any],
    models: Mapping[str, Any],
) -> Recipe:
    model = (models["models"] | table.get("models", {}))[row["model"]]
    dataset = DATASETS[key]
    stores = tuple(_store(table["stores"][name]) for name in row.get("stores", ()))
    modality = tuple(_MODALITIES[letter] for letter in row.get("modality", ""))
    modality = modality or tuple(dict.fromkeys(store.modality for store in stores))
    if not modality and model.get("reads_hidden_states", False):
        modality = ("text", "image")  # what the published code of the row reads
    protocol = row.get("protocol", LEAVE_LAST_OUT)
    row_settings = _flat(row.get("settings", {}))
    shared = table.get("shared", models[model.get("shared", "shared")])
    settings = _settings(model, row_settings | _flat(row.get("tuned", {})), key, shared)
    settings |= {"data.modality": list(modality)} if modality else {}
    settings |= {"data.split": protocol} if protocol != LEAVE_LAST_OUT else {}
    settings = _fitted(settings, len(modality))
    figures = dict(zip(table["figures"], row.get("figures", {}).get(key, ()), strict=False))
    is_borrowed = protocol != LEAVE_LAST_OUT and figures and not table.get("is_ours", False)
    curve = row.get("curve")
    return Recipe(
        name=f"{prefix}{row['name']}",
        title=table["title"],
        source=_source(table, row["row"], dataset.title),
        row=row["row"],
        model=model["title"],
        kind=str(settings["model.kind"]),
        dataset=dataset,
        modality=modality,
        reads_media=model.get("reads_media", False),
        protocol=protocol,
        settings=settings,
        defining=frozenset(
            {*_ALWAYS_DEFINING, *model.get("defining", ()), *row_settings} & {*settings}
        ),
        is_trained=model.get("is_trained", True),
        searched=_flat(model.get("search", {})),
        figures=figures,
        is_ours=table.get("is_ours", False),
        title_tokens=model.get("title_tokens") if "text" in modality else None,
        stores=stores,
        of=tuple(f"{prefix}{name}" for name in row.get("of", ())),
        refits=f"{prefix}{row['refits']}" if "refits" in row else None,
        same_run=None,
        curve=None if curve is None else f"{prefix}{curve}",
        notes=(
            *table.get("notes", ()),
            *model.get("notes", ()),
            *(_of_dataset(row.get("notes"), key) or ()),
            *([_BORROWED] if is_borrowed else []),
        ),
    )


def _settings(
    model: Mapping[str, Any], own: dict[str, Any], key: str, shared: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings of a row by dotted name, what is said nearer to it over the rest."""
    settings: dict[str, Any] = {}
    if model.get("is_trained", True):
        is_sequence_model = model.get("is_sequence_model", True)
        settings |= {
            name: value
            for name, value in _flat(shared).items()
            if is_sequence_model or not name.startswith("model.")
        }
    return settings | _flat(model["settings"]) | _flat(model.get(key, {})) | own


def _fitted(settings: dict[str, Any], modality_count: int) -> dict[str, Any]:
    """Leave out what the fusion does not read, and choose no more experts than there are."""
    top_k = settings.get("model.top_k")
    if top_k is None:
        return settings
    if settings.get("model.fusion", "momef") != "momef":
        return {name: value for name, value in settings.items() if name != "model.top_k"}
    return settings | {"model.top_k": min(top_k, modality_count)}


def _store(entry: Mapping[str, Any]) -> StoreSource:
    return StoreSource(
        modality=entry["modality"],
        backbone=entry["backbone"],
        licence=entry["licence"],
        layers=tuple(entry["layers"]),
        dim=entry["dim"],
        pooling=entry.get("pooling"),
        made_by=entry.get("made_by"),
    )


def _source(table: Mapping[str, Any], row: str, dataset: str) -> str:
    if table.get("is_ours", False):
        return f"our own, {dataset}: {row}"
    return f"{table['source']}, {dataset}: {row}"


def _of_dataset(value: Any, key: str) -> Any:  # noqa: ANN401 - whatever the table has there
    """Return what a table says for a dataset, where it says one thing for all or one for each."""
    return value.get(key) if isinstance(value, Mapping) else value


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
