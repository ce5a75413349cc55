"""``crossan runs``: the queue of a training service."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from crossan.common.console import (
    AsJson,
    Panel,
    add_command,
    app_settings,
    note,
    print_json,
    print_text,
    printable_lines,
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

app = typer.Typer(help="The queue of a training service.", **app_settings())


_RunNumber = Annotated[int, typer.Argument(metavar="RUN", min=1, help="Number of the run.")]
_Wait = Annotated[
    bool,
    typer.Option(
        "--wait",
        help="Wait until the run has ended; exit code 1 if it did not succeed.",
        rich_help_panel=Panel.OTHER,
    ),
]


@add_command(app, "submit")
def submit(
    dataset: DatasetName,
    recipe: Recipe = None,
    config: Config = None,
    assignments: SettingValues = None,
    stores: StoreChoices = None,
    seed: Seed = 0,
    init: Init = None,
    refit: Refit = None,
    label: Label = "",
    cpus: Cpus = 1,
    memory_gib: MemoryGib = 4.0,
    gpus: Gpus = 0,
    hours: Hours = 12.0,
    silent_minutes: SilentMinutes = 15.0,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            metavar="TEXT",
            help="Of two submissions with the same key, the second gives the run of the first.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    server: ServerUrl = None,
    folder: ServerFolder = None,
    token_file: TokenFile = None,
    should_wait: _Wait = False,
    as_json: AsJson = False,
) -> None:
    """Queue a training.

    Examples
    --------
    crossan runs submit --dataset sample --set max_epochs=5 --label "five epochs" --data service
    crossan runs submit --dataset sample --recipe table3/50k-TIVA --gpus 1 --wait --json
    """
    import secrets

    from crossan.train.service.client.printing import print_run
    from crossan.train.service.client.waiting import finish

    training = Training(
        dataset, recipe, config, assignments, stores, seed, init, refit, label,
        RunLimits(cpus, memory_gib, gpus, hours, silent_minutes),
    )  # fmt: skip
    spec = training.spec()
    client = client_of(server, folder, token_file)
    run = client.post("/v1/runs", spec, key=key or secrets.token_urlsafe(16))
    if should_wait:
        note(f"run {run['id']} is {run['state']}")
        finish(client, run["id"], as_json=as_json)
    elif as_json:
        print_json(run)
    else:
        print_run(run)


@add_command(app, "ls")
def list_runs(
    state: Annotated[
        Literal[
            "waiting", "queued", "running", "stopping", "succeeded", "failed", "cancelled",
            "skipped",
        ]
        | None,
        typer.Option(
            "--state",
            metavar="STATE",
            help="Runs in this state alone.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    night: Annotated[
        int | None,
        typer.Option(
            "--night", min=1, help="Runs of this night alone.", rich_help_panel=Panel.WHAT
        ),
    ] = None,
    before: Annotated[
        int | None,
        typer.Option(
            "--before",
            min=1,
            help="Runs with a lower number alone, to go on from an earlier list.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", min=1, max=500, help="Runs at most.", rich_help_panel=Panel.WHAT
        ),
    ] = 20,
    server: ServerUrl = None,
    folder: ServerFolder = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """List runs, the newest first.

    Examples
    --------
    crossan runs ls --state running --data service
    """
    from crossan.train.service.client.printing import print_runs

    client = client_of(server, folder, token_file)
    page = client.get("/v1/runs", state=state, night=night, before=before, limit=limit)
    if as_json:
        print_json(page)
    elif page["runs"]:
        print_runs(page["runs"])
    else:
        note("no runs")


@add_command(app, "show")
def show(
    run_id: _RunNumber,
    server: ServerUrl = None,
    folder: ServerFolder = None,
    token_file: TokenFile = None,
    should_wait: _Wait = False,
    as_json: AsJson = False,
) -> None:
    """Show a run: how it is, what it measured, what was asked for.

    Examples
    --------
    crossan runs show 12 --data service
    """
    from crossan.train.service.client.printing import print_run
    from crossan.train.service.client.waiting import finish

    client = client_of(server, folder, token_file)
    if should_wait:
        finish(client, run_id, as_json=as_json)
        return
    run = client.get(f"/v1/runs/{run_id}")
    if as_json:
        print_json(run)
    else:
        print_run(run)


@add_command(app, "logs")
def logs(
    run_id: _RunNumber,
    should_follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            "-f",
            help="Go on until the run has ended, from its first attempt on.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = False,
    attempt: Annotated[
        int | None,
        typer.Option(
            "--attempt",
            min=1,
            help="Log of this attempt; default: the latest.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    server: ServerUrl = None,
    folder: ServerFolder = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Print what a run printed.

    Examples
    --------
    crossan runs logs 12 -f --data service
    """
    from crossan.cache_schema.errors import UsageError
    from crossan.train.service.client.events import follow_run
    from crossan.train.service.client.logs import log_pieces

    if should_follow and attempt is not None:
        raise UsageError("--follow: expected no --attempt, as it prints those that come, too")
    client = client_of(server, folder, token_file)
    if should_follow:
        for event in follow_run(client, run_id):
            if event.name == "log":
                _print_piece(event.content["text"])
        if as_json:
            print_json(client.get(f"/v1/runs/{run_id}"))
        return
    pieces = log_pieces(client, run_id, attempt)
    if as_json:
        print_json({"run": run_id, "attempt": attempt, "log": "".join(pieces)})
        return
    for piece in pieces:
        _print_piece(piece)


@add_command(app, "cancel")
def cancel(
    run_id: _RunNumber,
    server: ServerUrl = None,
    folder: ServerFolder = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a run: what waits leaves the queue, what runs ends within 15 seconds.

    Examples
    --------
    crossan runs cancel 12 --data service
    """
    run = client_of(server, folder, token_file).post(f"/v1/runs/{run_id}/cancel")
    if as_json:
        print_json(run)
    else:
        print_text(f"run {run['id']} is {run['state']}")


def _print_piece(text: str) -> None:
    # Not print_text, which breaks lines: a log stays as it was written.
    print(printable_lines(text), end="", flush=True)
