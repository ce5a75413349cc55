"""Versions of models as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crossan.common.console import Column, print_fields, print_table
from crossan.train.service.client.printing import print_settings, when
from crossan.train.service.web.pages.figures import figure_table, headline
from crossan.train.service.web.pages.words import figure

__all__ = ["print_model", "print_models"]


def print_models(models: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of versions."""
    figures = [dict(headline(one["card"])) for one in models]
    names = list(dict.fromkeys(name for values in figures for name in values))
    print_table(
        [
            Column("model", is_number=True),
            Column("alias", is_whole=True),
            Column("dataset"),
            *(Column(name, is_number=True) for name in names),
            Column("served weights trained on"),
            Column("run", is_number=True),
            Column("registered", is_number=True),
        ],
        [
            [
                str(one["version"]),
                ", ".join(one["aliases"]),
                one["dataset"],
                *(figure(values.get(name)) for name in names),
                str(one["card"].get("served", {}).get("trained_on", "")),
                str(one["run"]),
                when(one["created"]),
            ]
            for one, values in zip(models, figures, strict=True)
        ],
    )


def print_model(model: Mapping[str, Any]) -> None:
    """Print one version."""
    card = model["card"]
    night = "" if model["night"] is None else f" of night {model['night']}"
    print_fields(
        [
            ("model", str(model["version"])),
            ("alias", ", ".join(model["aliases"])),
            ("dataset", model["dataset"]),
            ("trained by", f"run {model['run']}{night}"),
            ("registered", f"{when(model['created'])} by {model['created_by']}"),
            ("served weights", f"trained on {card.get('served', {}).get('trained_on', 'unknown')}"),
        ]
    )
    table = figure_table(card.get("figures", {}))
    if table.rows:
        print_table(
            [Column("part"), *(Column(name, is_number=True) for name in table.columns)],
            [[title, *map(figure, values)] for title, values in table.rows],
            title="\nfigures of the judged weights",
        )
    print_settings("card", {name: value for name, value in card.items() if name != "figures"})
