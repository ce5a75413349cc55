"""``crossan cache info|diff|card``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossan.common.console import AsJson, Panel, print_fields, print_json, print_text
from crossan.common.stores.options import StoreFolder

__all__ = ["card", "diff", "info"]


def info(store: StoreFolder, as_json: AsJson = False) -> None:
    """Say what one store holds, how it was made, and which of its layers carry no information.

    Examples
    --------
    crossan cache info demo/cache/sample/text/*
    """
    from crossan.common.stores.describing.info import describe, info_fields

    described = describe(store)
    if as_json:
        print_json(described)
    else:
        print_fields(info_fields(described))


def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder of one store.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Folder of another.")],
    version_a: Annotated[
        int | None,
        typer.Option(
            "--version-a", min=1, help="Version of A; default: newest.", rich_help_panel=Panel.WHAT
        ),
    ] = None,
    version_b: Annotated[
        int | None,
        typer.Option(
            "--version-b", min=1, help="Version of B; default: newest.", rich_help_panel=Panel.WHAT
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say in what two stores, or two versions of one, differ: recipe, items, values.

    The exit code is 1 where they do.

    Examples
    --------
    crossan cache diff cache/sample/text/bert-1 elsewhere/sample/text/bert-1
    """
    from crossan.common.stores.describing.diff import diff_stores
    from crossan.common.stores.reader import open_store

    difference = diff_stores(open_store(a, version_a), open_store(b, version_b))
    if as_json:
        print_json(difference.to_dict())
    else:
        print_text(difference.to_text())
    if not difference.is_equal:
        raise typer.Exit(1)


def card(
    store: StoreFolder,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="Folder to write to; default: the store's.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write README.md and card.json: where a store comes from and what may be done with it.

    Examples
    --------
    crossan cache card demo/cache/sample/text/* --out card
    """
    from crossan.common.stores.describing.card import write_card

    readme, data = write_card(store, out)
    if as_json:
        print_json({"readme": str(readme), "card": str(data)})
    else:
        print_text(f"{readme}\n{data}")
