"""Options that the commands of the service share, and what they make together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from crossan.common.console import Panel, complete_from

if TYPE_CHECKING:
    from crossan.train.service.client.http import Client

__all__ = [
    "Config",
    "Cpus",
    "DatasetName",
    "Gpus",
    "Hours",
    "Init",
    "Label",
    "MemoryGib",
    "Recipe",
    "Refit",
    "RunLimits",
    "Seed",
    "ServerFolder",
    "ServerUrl",
    "SettingValues",
    "SilentMinutes",
    "StoreChoices",
    "TokenFile",
    "Training",
    "client_of",
]

ServerUrl = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        envvar="CROSSAN_SERVER",
        help="Address of the server.",
        rich_help_panel=Panel.COMPUTES,
    ),
]
ServerFolder = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FOLDER",
        envvar="CROSSAN_SERVICE",
        help="Data folder of a server on this machine: its address and its tokens stand there.",
        rich_help_panel=Panel.COMPUTES,
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        envvar="CROSSAN_TOKEN_FILE",
        help="File with your token, which only you may read.",
        rich_help_panel=Panel.COMPUTES,
    ),
]
DatasetName = Annotated[
    str,
    typer.Option(
        "--dataset",
        metavar="NAME",
        help="Dataset of the service: the name of its folder.",
        rich_help_panel=Panel.WHAT,
    ),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME",
        help="Recipe that --config and --set change.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
Config = Annotated[
    list[Path] | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML file of settings; repeatable.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
SettingValues = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="One setting of the training; repeatable.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
StoreChoices = Annotated[
    list[str] | None,
    typer.Option(
        "--store",
        metavar="MODALITY=FINGERPRINT[@VERSION]",
        help="Store to read where there are several, or one version of it; repeatable.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
Seed = Annotated[
    int,
    typer.Option("--seed", min=0, help="Of all that is random.", rich_help_panel=Panel.SETTINGS),
]
Init = Annotated[
    Literal["none", "production"] | None,
    typer.Option(
        "--init",
        metavar="none|production",
        help="Weights to start from: random ones, or those in production.",
        autocompletion=complete_from(["none", "production"]),
        rich_help_panel=Panel.SETTINGS,
    ),
]
Refit = Annotated[
    Literal["none", "validation", "all"] | None,
    typer.Option(
        "--refit",
        metavar="none|validation|all",
        help="What the served weights are trained on once the figures are known.",
        autocompletion=complete_from(["none", "validation", "all"]),
        rich_help_panel=Panel.SETTINGS,
    ),
]
Label = Annotated[
    str, typer.Option("--label", help="Any text, for people.", rich_help_panel=Panel.WHAT)
]
Cpus = Annotated[
    int, typer.Option("--cpus", min=1, help="Cores it may use.", rich_help_panel=Panel.LIMITS)
]
MemoryGib = Annotated[
    float,
    typer.Option(
        "--memory",
        metavar="GIB",
        help="Memory it may use, in GiB.",
        rich_help_panel=Panel.LIMITS,
    ),
]
Gpus = Annotated[
    int, typer.Option("--gpus", min=0, help="GPUs it may use.", rich_help_panel=Panel.LIMITS)
]
Hours = Annotated[
    float,
    typer.Option("--hours", help="Hours until an attempt is ended.", rich_help_panel=Panel.LIMITS),
]
SilentMinutes = Annotated[
    float,
    typer.Option(
        "--silent-minutes",
        metavar="MINUTES",
        help="Without a sign for so long, an attempt counts as hung.",
        rich_help_panel=Panel.LIMITS,
    ),
]


class RunLimits(NamedTuple):
    """What the options of limits say."""

    cpus: int
    memory_gib: float
    gpus: int
    hours: float
    silent_minutes: float


class Training(NamedTuple):
    """What the options of a training say."""

    dataset: str
    recipe: str | None
    config: Sequence[Path] | None
    assignments: Sequence[str] | None
    stores: Sequence[str] | None
    seed: int
    init: str | None
    refit: str | None
    label: str
    limits: RunLimits

    def spec(self) -> dict[str, Any]:
        """Return the spec that the server takes; what is None there has its own default.

        Raises
        ------
        ConfigError, UsageError
            A setting, a store or a file cannot be read.
        """
        from crossan.train.service.client.specs import settings_of, store_choice

        given: dict[str, Any] = {"init": self.init, "refit": self.refit, "recipe": self.recipe}
        return {
            "dataset": self.dataset,
            "settings": settings_of(self.config or (), self.assignments or ()),
            "stores": [store_choice(text) for text in self.stores or ()],
            "seed": self.seed,
            "label": self.label,
            "limits": self.limits._asdict(),
            **{name: value for name, value in given.items() if value is not None},
        }


def client_of(server: str | None, folder: Path | None, token_file: Path | None) -> Client:
    """Return what asks the server that the options name.

    Raises
    ------
    UsageError
        They name none, or no token.
    RemoteError
        No server runs on the data folder.
    """
    from crossan.train.service.client.connection import connection_of
    from crossan.train.service.client.http import Client

    return Client(connection_of(server, folder, token_file))
