"""``crossan sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from crossan.cache_schema.errors import ConfigError, CrossanError
from crossan.common.console import (
    AsJson,
    Panel,
    complete_from,
    explains_options,
    note,
    print_json,
)
from crossan.common.stores.options import CacheFolder
from crossan.train.options import (
    AllowStale,
    Config,
    DatasetFolder,
    DropItems,
    Modalities,
    explain_setting,
    modalities,
    run_settings,
)

__all__ = ["sweep"]


class TrialsFailedError(CrossanError):
    """Some trials of a sweep failed; the others count."""


@explains_options(explain_setting)
def sweep(
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="Sweep folder to write, or to go on with.",
            rich_help_panel=Panel.WHAT,
        ),
    ],
    dataset: DatasetFolder = None,
    cache: CacheFolder = None,
    modality: Modalities = None,
    drop_items: DropItems = False,
    allow_stale: AllowStale = False,
    no_test: Annotated[
        bool,
        typer.Option(
            "--no-test",
            help="Stop after the choice: look at no test target at all.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = False,
    plan: Annotated[
        Path | None,
        typer.Option(
            "--sweep",
            metavar="FILE",
            help="TOML file of what the options from --grid to --sampler-seed say.",
            rich_help_panel=Panel.SETTINGS,
        ),
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            "--grid",
            metavar="KEY=A,B,...",
            help="Values to try of a training setting; repeatable.",
            rich_help_panel=Panel.SETTINGS,
        ),
    ] = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option(
            "--range",
            metavar="KEY=LOW:HIGH[:log]",
            help="Range to draw a training setting from; repeatable.",
            rich_help_panel=Panel.SETTINGS,
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            "--seeds",
            metavar="0,1,...",
            help="Seeds of every point; default: 0.",
            rich_help_panel=Panel.SETTINGS,
        ),
    ] = None,
    sampler: Annotated[
        Literal["grid", "random", "optuna"] | None,
        typer.Option(
            "--sampler",
            help="Where the points come from; default: grid.",
            rich_help_panel=Panel.SETTINGS,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials",
            help="Points to draw with random or optuna.",
            rich_help_panel=Panel.SETTINGS,
        ),
    ] = None,
    sampler_seed: Annotated[
        int | None,
        typer.Option(
            "--sampler-seed",
            help="Seed of the draws; default: 0.",
            rich_help_panel=Panel.SETTINGS,
        ),
    ] = None,
    config: Config = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="One training setting for all trials; repeatable.",
            rich_help_panel=Panel.SETTINGS,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            min=1,
            help="Trials side by side; default: one a CUDA device, or one on the CPU.",
            rich_help_panel=Panel.COMPUTES,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            min=1,
            help="CPU threads of a trial; default: the cores divided by --jobs.",
            rich_help_panel=Panel.COMPUTES,
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            "--device",
            metavar="DEVICE",
            autocompletion=complete_from(["auto", "cpu", "cuda"]),
            help="auto, cpu or cuda; CUDA_VISIBLE_DEVICES names single devices.",
            rich_help_panel=Panel.COMPUTES,
        ),
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    r"""Train settings and seeds side by side, choose one by validation, and judge it on test.

    The same command goes on with a sweep that was interrupted.

    Examples
    --------
    crossan sweep --dataset data --cache cache --out sweeps/first \
        --grid model.top_k=1,2 --seeds 0,1
    """
    from crossan.common.config import load_settings, settings_with
    from crossan.train.sweep.devices import device_kind
    from crossan.train.sweep.reporting import print_report
    from crossan.train.sweep.searching import run_sweep
    from crossan.train.sweep.settings import SweepSettings

    requested = load_settings(SweepSettings, files=[] if plan is None else [plan], environment={})
    flags: dict[str, Any] = {
        "seeds": None if seeds is None else _list_of("--seeds", seeds),
        "sampler": sampler,
        "trials": trials,
        "sampler_seed": sampler_seed,
        "threads": threads,
        "device": None if device == "auto" else device_kind(device),
        "grid": requested.grid
        | {key: _list_of("--grid", text) for key, text in _pairs("--grid", grid)}
        if grid
        else None,
        "range": requested.range | dict(_pairs("--range", ranges)) if ranges else None,
    }
    requested = settings_with(
        requested,
        {name: value for name, value in flags.items() if value is not None},
        {name: f"--{name.replace('_', '-')}" for name in flags},
    )
    shared = {
        "--dataset": dataset,
        "--cache": None if cache is None else str(cache),
        "--modality": modalities(modality),
        "--drop-items": drop_items or None,
    }
    base = run_settings(shared, config or [], assignments or [])
    report = run_sweep(
        requested, base, out, jobs=jobs, should_test=not no_test, may_be_stale=allow_stale
    )
    if as_json:
        print_json(report)
    else:
        print_report(report)
        note(f"sweep folder: {out}")
    if report["failed"]:
        raise TrialsFailedError(
            f"{len(report['failed'])} trials failed, first: {report['failed'][0]['run']}",
            remedy=f"See {out}/logs; the same command tries those again that did not diverge",
        )


def _pairs(flag: str, texts: list[str] | None) -> list[tuple[str, str]]:
    pairs = []
    for text in texts or []:
        key, separator, value = text.partition("=")
        if not separator or not key.strip() or not value.strip():
            raise ConfigError(f"{flag} {text}: expected KEY=VALUES")
        pairs.append((key.strip(), value.strip()))
    return pairs


def _list_of(flag: str, text: str) -> list[Any]:
    """Read ``a,b,c``: TOML values where they are, bare words where not."""
    from crossan.common.config.sources import parse_toml

    try:
        return list(parse_toml(f"values = [{text}]")["values"])
    except ValueError:
        words = [word.strip() for word in text.split(",")]
    if not all(words) or any(sign in text for sign in "[]{}\"'\n"):
        raise ConfigError(f"{flag} {text}: expected values divided by commas")
    return words
