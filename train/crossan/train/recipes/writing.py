"""A recipe as files that the other commands read: a config.toml, and a plan of a sweep."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from crossan.cache_schema.errors import UsageError
from crossan.train.recipes.catalogue import require_one_training
from crossan.train.recipes.recipe import Recipe
from crossan.train.recipes.state import is_built

if TYPE_CHECKING:
    from crossan.common.config import Base
    from crossan.train.settings import RunSettings

__all__ = [
    "base_of",
    "config_text",
    "curve_text",
    "default_settings",
    "is_written_by_us",
    "require_built",
    "sweep_text",
]

_FIRST_LINE = "# Written by crossan recipe cp"
_DATASET = "DATASET"
"""Stands for the dataset folder, which no recipe knows."""

_SEARCHED: Mapping[str, list[int]] = {
    "batch_size": [32, 64, 128, 256, 512, 1024],
    "model.bottleneck_dim": [32, 64, 128, 256, 512, 1024, 2048, 4096, 8192],
    "model.top_k": [1, 2, 3, 4],
    "model.width": [32, 64, 128],
}
"""Section 5's and 6.4's values by setting."""
_RANGES = {"optimiser.adapter_lr": "1e-5:1e-3:log", "optimiser.lr": "1e-5:1e-3:log"}
_TRIALS = 32
_COLUMNS = 96


def is_written_by_us(beginning: bytes) -> bool:
    """Whether a file that begins with these bytes is one of the texts below."""
    return beginning.startswith(_FIRST_LINE.encode())


def base_of(recipe: Recipe) -> Base:
    """Return a recipe's settings as what stands below everything that a user gives.

    Raises
    ------
    UsageError
        Its model is not built.
    """
    from crossan.common.config import Base

    require_built(recipe)
    return Base(f"recipe {recipe.name}", recipe.settings)


def default_settings(recipe: Recipe) -> RunSettings:
    """Return the settings of a recipe with nothing given beside it.

    Raises
    ------
    UsageError
        Its model is not built.
    """
    from crossan.common.config import FlagValue, load_settings
    from crossan.train.settings import RunSettings

    dataset = FlagValue("--dataset", "data.dataset", _DATASET)
    return load_settings(RunSettings, flags=[dataset], environment={}, bases=[base_of(recipe)])


def require_built(recipe: Recipe) -> None:
    """Refuse a recipe whose model this installation does not have.

    Raises
    ------
    UsageError
        It does not have it.
    """
    if not is_built(recipe):
        raise UsageError(
            f"{recipe.name}: expected a model that crossan has, found {recipe.model}"
            f" (model.kind={recipe.kind}), which is not built",
            remedy=f"The row's figures: crossan recipe show {recipe.name}",
        )


def config_text(recipe: Recipe) -> str:
    """Return a complete ``config.toml`` that says where every value comes from.

    ``crossan-train --config`` reads it, with ``--dataset`` and ``--cache`` beside it.

    Raises
    ------
    UsageError
        The recipe's model is not built, or it needs the runs of others.
    """
    from crossan.common.config import to_toml

    require_built(recipe)
    require_one_training(recipe)
    lines = [_FIRST_LINE, *_head(recipe), ""]
    group = ""
    why = dict(_reasons(recipe))
    for line in to_toml(default_settings(recipe)).splitlines():
        name = line.partition(" = ")[0]
        if line.startswith("["):
            group = line.strip("[]") + "."
        dotted = group + name
        if dotted == "data.dataset":
            lines.append('# dataset = "..."  # or --dataset, and --cache beside it')
        elif dotted in why and " = " in line:
            lines.append(f"{line}  # {why[dotted]}")
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def sweep_text(recipe: Recipe) -> str:
    """Return the search space of a row's model as a plan that ``crossan sweep --sweep`` reads.

    It is that of section 5, or what the model's own authors search. Settings that
    define the row are not searched.

    Raises
    ------
    UsageError
        The recipe's model is not built, or has none of the settings that the paper searches.
    """
    from crossan.common.config import toml_value

    settings = _dotted(default_settings(recipe))
    if not recipe.is_trained:
        raise UsageError(
            f"{recipe.name}: expected a model that is trained, found {recipe.model}, for which the"
            " paper searches nothing",
            remedy=f"crossan recipe show {recipe.name}",
        )
    is_open = {*settings} - recipe.defining
    space = recipe.searched or _section_5(recipe)
    grid = {name: values for name, values in space.items() if isinstance(values, list)}
    grid = {name: values for name, values in grid.items() if name in is_open}
    ranges = {name: text for name, text in space.items() if name in is_open and name not in grid}
    if ranges:
        comment = (
            f"The search space of section 5 for {recipe.name}. The paper names the ranges, not how"
            f" they were searched: {_TRIALS} random points are ours. What defines the row is fixed."
        )
        sampler = ['sampler = "random"', f"trials = {_TRIALS}"]
    else:
        comment = (
            f"The grid of the published code for {recipe.name}. Validation chooses here; MMRec"
            " reports the point that is best by test."
        )
        sampler = ['sampler = "grid"']
    return "\n".join(
        [
            _FIRST_LINE,
            *_comment(comment),
            "#",
            *_comment(_use_of_plan(recipe.name)),
            *sampler,
            "seeds = [0]",
            "",
            "[grid]",
            *(f"{name} = {toml_value(values)}" for name, values in grid.items()),
            "",
            *(["[range]"] if ranges else []),
            *(f"{name} = {toml_value(text)}" for name, text in ranges.items()),
            "",
        ]
    )


def _section_5(recipe: Recipe) -> dict[str, object]:
    """Return the values and ranges of section 5, ranges only of what the recipe sets."""
    top_k = {"model.top_k": list(range(1, len(recipe.modality) + 1))}
    ranges = {name: text for name, text in _RANGES.items() if name in recipe.settings}
    return {**_SEARCHED, **top_k, **ranges}


def curve_text(points: list[Recipe]) -> str:
    """Return the points of a curve as a plan that ``crossan sweep --sweep`` reads.

    Raises
    ------
    UsageError
        The points move several settings at once, which a plan cannot.
    """
    first, curve = points[0], points[0].curve
    moved = [
        name for name in first.settings if len({str(point.settings[name]) for point in points}) > 1
    ]
    if len(moved) != 1:
        raise UsageError(
            f"{curve}: expected a curve of one setting, found one of {', '.join(moved)}, which move"
            " together and which no sweep can tie",
            remedy=f"Run its points: crossan recipe run {first.name}",
        )
    values = [point.settings[moved[0]] for point in points]
    return "\n".join(
        [
            _FIRST_LINE,
            *_comment(f"The points of {curve}. {_use_of_plan(first.name)}"),
            'sampler = "grid"',
            "seeds = [0]",
            "",
            "[grid]",
            f"{moved[0]} = {values}",
            "",
        ]
    )


def _use_of_plan(name: str) -> str:
    return (
        f"crossan recipe cp {name} config.toml, then crossan sweep --config config.toml --sweep"
        " THIS_FILE --dataset D --cache C --out S"
    )


def _head(recipe: Recipe) -> Iterator[str]:
    """Yield what the file is about, as comments."""
    figures = ", ".join(f"{name} {figure:g}" for name, figure in recipe.figures.items())
    whose = "Our own figures" if recipe.is_ours else "The paper's figures"
    yield from _comment(f"{recipe.name}: {recipe.source}")
    yield from _comment(f"{whose}: {figures or 'none are printed'}")
    yield from _comment(f"Protocol: {recipe.protocol}")
    if recipe.title_tokens is not None:
        yield from _comment(f"Features: titles cut at {recipe.title_tokens} tokens")
    for note in recipe.notes:
        yield from _comment(f"Note: {note}")


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _COLUMNS, break_on_hyphens=False)]


def _reasons(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield why a setting has its value, by dotted name, where there is anything to say."""
    from crossan.train.settings.describing import describe_settings

    for section in describe_settings(recipe.kind):
        for described in section.settings:
            paper = f"paper: {described.paper}" if described.paper else ""
            if described.name in recipe.defining:
                yield described.name, "; ".join(filter(None, ("defines the row", paper)))
            elif described.name in recipe.settings:
                yield described.name, paper or "the recipe's own"
            elif paper:
                yield described.name, paper


def _dotted(settings: RunSettings) -> Mapping[str, Any]:
    from crossan.common.config import dotted

    return dict(dotted(settings.model_dump(mode="json", serialize_as_any=True)))
