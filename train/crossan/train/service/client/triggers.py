"""``crossan triggers``: when nights begin by themselves."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from crossan.common.console import (
    AsJson,
    Panel,
    add_command,
    app_settings,
    note,
    print_json,
    print_text,
)
from crossan.train.service.client.nights import (
    Alias,
    ColdMargin,
    Extract,
    Margin,
    NoUpdate,
    night_spec,
)
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

__all__ = ["app"]

app = typer.Typer(help="Triggers: when nights begin by themselves.", **app_settings())

_Name = Annotated[str, typer.Argument(metavar="TRIGGER", help="Name of the trigger.")]


@add_command(app, "ls")
def list_triggers(
    server: ServerUrl = None,
    folder: ServerFolder = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """List triggers: when each fires next, when it last did, and what came of it.

    Examples
    --------
    crossan triggers ls --data service
    """
    from crossan.common.console import Column, print_table
    from crossan.train.service.client.printing import when
    from crossan.train.service.specs import TriggerSpec
    from crossan.train.service.web.pages.trigger_words import rule_of

    triggers = client_of(server, folder, token_file).get("/v1/triggers")
    if as_json:
        print_json({"triggers": triggers})
        return
    if not triggers:
        note("no triggers")
        return
    print_table(
        [
            Column("trigger", is_whole=True),
            Column("begins a night"),
            Column("dataset"),
            Column("next", is_number=True),
            Column("last", is_number=True),
            Column("what it did"),
        ],
        [
            [
                one["name"],
                rule_of(TriggerSpec.model_validate(one["spec"])),
                one["spec"]["night"]["dataset"],
                when(one["next_time"]),
                when(one["last_time"], "never"),
                one["last_reason"],
            ]
            for one in triggers
        ],
    )


@add_command(app, "add")
def add(
    name: _Name,
    dataset: DatasetName,
    cron: Annotated[
        str | None,
        typer.Option(
            "--cron",
            metavar="TIMES",
            help="At these times: minute hour day month weekday.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(
            "--timezone",
            metavar="ZONE",
            help="Time zone of --cron, for example Europe/Berlin; default: UTC.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    modality: Annotated[
        str | None,
        typer.Option(
            "--new-version",
            metavar="MODALITY",
            help="When its store of this modality has a new version, or any for every modality.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    grown_by: Annotated[
        int | None,
        typer.Option(
            "--grown-by",
            metavar="N",
            min=1,
            help="When it has so many interactions more.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
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
    """Add a trigger, which begins a night at fixed times, or when data have changed.

    Examples
    --------
    crossan triggers add nightly --dataset sample --cron "30 2 * * *" --extract all --data service
    crossan triggers add growth --dataset sample --grown-by 500 --data service
    """
    training = Training(
        dataset, recipe, config, assignments, stores, seed, init, refit, label,
        RunLimits(cpus, memory_gib, gpus, hours, silent_minutes),
    )  # fmt: skip
    night = night_spec(
        training,
        extract,
        no_update=no_update,
        gate={"margin": margin, "cold_margin": cold_margin},
        alias=alias,
    )
    spec = {"name": name, "night": night, **_kind_of(cron, timezone, modality, grown_by)}
    trigger = client_of(server, folder, token_file).post("/v1/triggers", spec)
    if as_json:
        print_json(trigger)
    else:
        print_text(f"trigger {name} is added")


@add_command(app, "rm")
def remove(
    name: _Name,
    server: ServerUrl = None,
    folder: ServerFolder = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove a trigger; what its nights did stays.

    Examples
    --------
    crossan triggers rm nightly --data service
    """
    from crossan.train.service.client.http import in_path

    client = client_of(server, folder, token_file)
    trigger = client.delete(f"/v1/triggers/{in_path(name)}")
    if as_json:
        print_json(trigger)
    else:
        print_text(f"trigger {name} is removed")


@add_command(app, "run")
def run(
    name: _Name,
    server: ServerUrl = None,
    folder: ServerFolder = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Begin the night of a trigger now.

    Examples
    --------
    crossan triggers run nightly --data service
    """
    from crossan.train.service.client.http import in_path

    night = client_of(server, folder, token_file).post(f"/v1/triggers/{in_path(name)}/run")
    if as_json:
        print_json(night)
    else:
        print_text(f"night {night['id']} has begun")


def _kind_of(
    cron: str | None, timezone: str | None, modality: str | None, grown_by: int | None
) -> dict[str, Any]:
    """Return the kind of a trigger and what belongs to it, from the one option that was given."""
    from crossan.cache_schema.errors import UsageError

    options = {"--cron": cron, "--new-version": modality, "--grown-by": grown_by}
    given = [option for option, value in options.items() if value is not None]
    if len(given) != 1:
        raise UsageError(
            "expected one of --cron, --new-version and --grown-by, found"
            f" {' and '.join(given) or 'none'}",
            remedy='--cron "30 2 * * *"',
        )
    if timezone is not None and cron is None:
        raise UsageError("--timezone: expected --cron with it, found none")
    if cron is not None:
        return {"kind": "cron", "cron": cron, **({"timezone": timezone} if timezone else {})}
    if grown_by is not None:
        return {"kind": "log", "grown_by": grown_by}
    return {"kind": "store", **({} if modality == "any" else {"modality": modality})}
