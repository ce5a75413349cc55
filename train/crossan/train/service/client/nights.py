"""``crossan nights``: chains from new data to a model in production."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from crossan.common.console import (
    AsJson,
    Panel,
    add_command,
    app_settings,
    complete_from,
    note,
    print_json,
    print_text,
)
from crossan.common.modalities import ALL
from crossan.train.service.client.options import (
    Config,
    Cpus,
    DatasetName,
    Gpus,
    Hours,
    Init,
    Label,
    MemoryGib,
    Recipe,
    Refit,
    RunLimits,
    Seed,
    ServerFolder,
    ServerUrl,
    SettingValues,
    SilentMinutes,
    StoreChoices,
    TokenFile,
    Training,
    client_of,
)

__all__ = ["Alias", "ColdMargin", "Extract", "Margin", "NoUpdate", "app", "night_spec"]

app = typer.Typer(help="Nights: from new data to a model in production.", **app_settings())

Extract = Annotated[
    str | None,
    typer.Option(
        "--extract",
        metavar="MODALITY[,...]",
        help="Modalities whose stores are brought up to date first, or all.",
        autocompletion=complete_from(["text", "image", "audio", "video", ALL]),
        rich_help_panel=Panel.WHAT,
    ),
]
NoUpdate = Annotated[
    bool,
    typer.Option(
        "--no-update",
        help="Do not read the dataset's folder in the inbox first.",
        rich_help_panel=Panel.WHAT,
    ),
]
Margin = Annotated[
    float | None,
    typer.Option(
        "--margin",
        min=0,
        max=1,
        help="How much lower test NDCG@10 may be than in production.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
ColdMargin = Annotated[
    float | None,
    typer.Option(
        "--cold-margin",
        min=0,
        max=1,
        help="The same for users whose target no training part holds.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
Alias = Annotated[
    str,
    typer.Option(
        "--alias",
        metavar="NAME",
        help="Alias that moves when the gate holds.",
        rich_help_panel=Panel.WHAT,
    ),
]
_NightNumber = Annotated[int, typer.Argument(metavar="NIGHT", min=1, help="Number of the night.")]


def night_spec(
    training: Training,
    extract: str | None,
    *,
    no_update: bool,
    gate: Mapping[str, float | None],
    alias: str,
) -> dict[str, Any]:
    """Return the spec of a night that options describe.

    Parameters
    ----------
    training
        What it trains.
    extract, no_update, alias
        As their options say.
    gate
        Margins by their names in the spec, None for its own.

    Raises
    ------
    UsageError
        A modality is none.
    """
    from crossan.common.modalities import parse_modalities

    spec = training.spec() | {"update": not no_update, "alias": alias}
    if extract is not None:
        spec["extract"] = [one.value for one in parse_modalities(extract, "--extract")]
    given = {name: value for name, value in gate.items() if value is not None}
    return spec | ({"gate": given} if given else {})


@add_command(app, "begin")
def begin(
    dataset: DatasetName,
    extract: Extract = None,
    no_update: NoUpdate = False,
    recipe: Recipe = None,
    config: Config = None,
    assignments: SettingValues = None,
    stores: StoreChoices = None,
    seed: Seed = 0,
    init: Init = None,
    refit: Refit = None,
    margin: Margin = None,
    cold_margin: ColdMargin = None,
    alias: Alias = "production",
    label: Label = "",
    cpus: Cpus = 1,
    memory_gib: MemoryGib = 4.0,
    gpus: Gpus = 0,
    hours: Hours = 12.0,
    silent_minutes: SilentMinutes = 15.0,
    server: ServerUrl = None,
    folder: ServerFolder = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Begin a night now: update, extract, train, evaluate, gate, refit, promote.

    Examples
    --------
    crossan nights begin --dataset sample --extract text,image --data service
    """
    training = Training(
        dataset, recipe, config, assignments, stores, seed, init, refit, label,
        RunLimits(cpus, memory_gib, gpus, hours, silent_minutes),
    )  # fmt: skip
    spec = night_spec(
        training,
        extract,
        no_update=no_update,
        gate={"margin": margin, "cold_margin": cold_margin},
        alias=alias,
    )
    night = client_of(server, folder, token_file).post("/v1/nights", spec)
    if as_json:
        print_json(night)
    else:
        print_text(f"night {night['id']} has begun")


@add_command(app, "ls")
def list_nights(
    before: Annotated[
        int | None,
        typer.Option(
            "--before",
            min=1,
            help="Nights with a lower number alone, to go on from an earlier list.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    limit: Annotated[
        int,
        typer.Option("--limit", min=1, max=500, help="Nights at most.", rich_help_panel=Panel.WHAT),
    ] = 20,
    server: ServerUrl = None,
    folder: ServerFolder = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """List nights, the newest first, with what each did in one line.

    Examples
    --------
    crossan nights ls --data service
    """
    from crossan.train.service.client.printing import print_nights

    page = client_of(server, folder, token_file).get("/v1/nights", before=before, limit=limit)
    if as_json:
        print_json(page)
    elif page["nights"]:
        print_nights(page["nights"])
    else:
        note("no nights")


@add_command(app, "show")
def show(
    night_id: _NightNumber,
    server: ServerUrl = None,
    folder: ServerFolder = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a night with its steps.

    Examples
    --------
    crossan nights show 3 --data service
    """
    from crossan.train.service.client.printing import print_night

    client = client_of(server, folder, token_file)
    night = client.get(f"/v1/nights/{night_id}")
    if as_json:
        print_json(night)
    else:
        print_night(night)


@add_command(app, "cancel")
def cancel(
    night_id: _NightNumber,
    server: ServerUrl = None,
    folder: ServerFolder = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a night: the step that runs ends, and the ones after it do not start.

    Examples
    --------
    crossan nights cancel 3 --data service
    """
    night = client_of(server, folder, token_file).post(f"/v1/nights/{night_id}/cancel")
    if as_json:
        print_json(night)
    else:
        print_text(f"night {night['id']} is {night['state']}")
