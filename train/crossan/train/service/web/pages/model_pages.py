"""The versions of models, the page of one, and what is asked before an alias moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crossan.train.service.registry import Alias, Model, Move
from crossan.train.service.specs import PRODUCTION
from crossan.train.service.web.pages.figures import figure_table, headline
from crossan.train.service.web.pages.recommend_page import NEWS, TOPS
from crossan.train.service.web.pages.rendering import View
from crossan.train.service.web.pages.words import flat

__all__ = ["model_page", "models_page", "promote_page", "rollback_page"]


def models_page(
    view: View,
    models: Sequence[Model],
    aliases: Mapping[str, Alias],
    moves: Sequence[Move],
    last: int | None,
) -> str:
    """Return the list of versions.

    Parameters
    ----------
    view
        Who looks.
    models
        The newest first.
    aliases
        All, by their names.
    moves
        The newest first.
    last
        Number of the last version where there are older ones.
    """
    figures = {one.version: dict(headline(one.card)) for one in models}
    columns = list(dict.fromkeys(name for values in figures.values() for name in values))
    rows = [
        {
            "model": one,
            "aliases": _aliases_of(one.version, aliases),
            "shown": [figures[one.version].get(name) for name in columns],
            "trained_on": _trained_on(one.card),
        }
        for one in models
    ]
    return view.render(
        "models",
        models=rows,
        columns=columns,
        aliases=list(aliases.values()),
        moves=moves,
        last=last,
        tops=TOPS,
        news=NEWS,
    )


def model_page(
    view: View,
    model: Model,
    aliases: Mapping[str, Alias],
    moves: Sequence[Move],
) -> str:
    """Return the page of a version.

    Parameters
    ----------
    view
        Who looks.
    model
        The version.
    aliases
        All, by their names.
    moves
        Those to this version, the newest first.
    """
    shown_apart = {"figures", "sha256"}
    card = {name: value for name, value in model.card.items() if name not in shown_apart}
    return view.render(
        "model",
        model=model,
        aliases=_aliases_of(model.version, aliases),
        moves=moves,
        figures=figure_table(model.card.get("figures", {})),
        weights=_weights_of(model.card),
        card=flat(card),
        files=flat(model.card.get("sha256", {})),
    )


def promote_page(view: View, model: Model, alias: Alias | None, current: Model | None) -> str:
    """Return the question whether a version is to be promoted to production.

    Parameters
    ----------
    view
        Who looks.
    model
        The version.
    alias
        ``production`` as it is now, None where it names nothing yet.
    current
        The version that it names.
    """
    lines = (
        ["No model is in production. This one answers as soon as it is loaded."]
        if current is None
        else [
            f"Model {current.version} answers until model {model.version} is loaded.",
            "You can roll back at any time.",
        ]
    )
    columns, rows = _side_by_side([model] if current is None else [model, current])
    return view.render(
        "confirm",
        heading=f"Promote model {model.version} to production?",
        lines=lines,
        columns=columns,
        rows=rows,
        action=f"/models/{model.version}/promote",
        fields=[("expected_revision", 0 if alias is None else alias.revision)],
        button=f"Promote model {model.version}",
        is_danger=False,
        back=f"/models/{model.version}",
    )


def rollback_page(view: View, alias: Alias, current: Model, before: Model | None) -> str:
    """Return the question whether an alias is to go back to the version before.

    Parameters
    ----------
    view
        Who looks.
    alias
        As it is now.
    current
        The version that it names.
    before
        The version that it would name, None where that is told only when it moves.
    """
    models = [current] if before is None else [before, current]
    columns, rows = _side_by_side(models)
    target = "the version before" if before is None else f"model {before.version}"
    return view.render(
        "confirm",
        heading=f"Roll {alias.name} back to {target}?",
        lines=[f"Model {current.version} answers until {target} is loaded."],
        columns=columns,
        rows=rows,
        action=f"/aliases/{alias.name}/rollback",
        fields=[("expected_revision", alias.revision)],
        button=f"Roll back to {target}",
        is_danger=False,
        back="/models",
    )


def _aliases_of(version: int, aliases: Mapping[str, Alias]) -> list[str]:
    names = [alias.name for alias in aliases.values() if alias.version == version]
    return sorted(names, key=lambda name: (name != PRODUCTION, name))


def _trained_on(card: Mapping[str, Any]) -> str:
    """Return what the served weights were trained on, in words."""
    return str(card.get("served", {}).get("trained_on", "unknown"))


def _weights_of(card: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the weights of a version: those that were judged, and those that answer."""
    judged = {
        "name": "Judged",
        "trained_on": "training items alone",
        "purpose": "measuring, and the gate",
        "figures": "those below",
    }
    if not card.get("served", {}).get("is_refitted"):
        return [judged | {"name": "Judged and served", "purpose": "measuring, and answering"}]
    served = {
        "name": "Served",
        "trained_on": _trained_on(card),
        "purpose": "answering",
        "figures": "none: they have seen the items that figures are taken on",
    }
    return [judged, served]


def _side_by_side(
    models: Sequence[Model],
) -> tuple[list[str], list[tuple[str, list[object]]]]:
    figures = [dict(headline(one.card)) for one in models]
    columns = list(dict.fromkeys(name for values in figures for name in values))
    rows = [
        (f"Model {one.version}", [values.get(name) for name in columns])
        for one, values in zip(models, figures, strict=True)
    ]
    return columns, rows if columns else []
