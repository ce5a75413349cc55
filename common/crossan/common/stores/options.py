"""Arguments and options that the commands on stores share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossan.common.console import Panel

__all__ = ["AllowOtherContents", "CacheFolder", "StoreFolder"]

StoreFolder = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of one store.")]
CacheFolder = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="FOLDER",
        envvar="CROSSAN_CACHE",
        help="Folder of stores.",
        rich_help_panel=Panel.WHAT,
    ),
]
AllowOtherContents = Annotated[
    bool,
    typer.Option(
        "--allow-other-contents",
        help="Unite stores whose datasets or contents differ.",
        rich_help_panel=Panel.WHAT,
    ),
]
