"""``crossan cache info|diff|card``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossan.common.console import print_json

__all__ = ["card", "diff", "info"]

_Store = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of one store.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def info(store: _Store, is_json: _Json = False) -> None:
    """Say what one store holds, how it was made, and which of its hidden states carry no information."""
    from crossan.common.stores.describing.info import describe, info_text

    described = describe(store)
    if is_json:
        print_json(described)
    else:
        print(info_text(described))


def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="Folder of one store.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Folder of another.")],
    version_a: Annotated[
        int | None, typer.Option("--version-a", min=1, help="Version of A; default: newest.")
    ] = None,
    version_b: Annotated[
        int | None, typer.Option("--version-b", min=1, help="Version of B; default: newest.")
    ] = None,
    is_json: _Json = False,
) -> None:
    """Say in what two stores, or two versions of one, differ: recipe, items, values. Exit 1 where they do."""
    from crossan.common.stores.describing.diff import diff_stores
    from crossan.common.stores.reader import open_store

    found = diff_stores(open_store(a, version_a), open_store(b, version_b))
    if is_json:
        print_json(found.to_dict())
    else:
        print(found.to_text())
    if not found.is_equal:
        raise typer.Exit(1)


def card(
    store: _Store,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write to; default: the store's.")
    ] = None,
    is_json: _Json = False,
) -> None:
    """Write README.md and card.json: where a store comes from and what may be done with it."""
    from crossan.common.stores.describing.card import write_card

    readme, data = write_card(store, out)
    if is_json:
        print_json({"readme": str(readme), "card": str(data)})
    else:
        print(f"{readme}\n{data}")
