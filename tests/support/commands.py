"""crossan's training commands, run in this process."""

from __future__ import annotations

import json

import typer
from typer.testing import CliRunner

from crossan.train.cli import train
from crossan.train.settings.kinds import _BUILT_IN as OURS

QUICK = (
    "model.bottleneck_dim=8",
    "model.width=16",
    "optimiser.adapter_lr=0.01",
    "optimiser.lr=0.01",
    "batch_size=32",
    "patience=20",
)

SASREC_BY_EPOCH = (
    "model.kind=sasrec",
    "model.width=8",
    "model.dropout=0.1",
    "optimiser.lr=0.05",
    "batch_size=32",
    "average_epochs=1",
    "objective.debias=all",
)
"""Ids alone, learned so fast that a drop comes soon, each epoch judged by its own weights."""


def attempt(command, *arguments):
    """Run a command; return Typer's result, whatever came of it."""
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def run(command, *arguments):
    """Run a command that succeeds; what it raises is raised here."""
    result = attempt(command, *arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def training(place, settings, *more, out="r", device="cpu"):
    """Return the arguments of ``crossan-train`` that train from ``d`` and ``c`` in a folder to ``out`` in it."""
    kind = _kind(settings, more)
    cache = (
        ("--cache", place / "c")
        if kind is None or kind.reads_hidden_states or kind.reads_media
        else ()
    )
    given = [part for setting in settings if _is_of(setting, kind) for part in ("--set", setting)]
    return [
        "--dataset",
        place / "d",
        *cache,
        "--out",
        place / out,
        *(() if device is None else ("--device", device)),
        "--json",
        *given,
        *more,
    ]


def _kind(settings, more):
    """Return the settings class of the model that arguments name, None for one of another package."""
    named = [
        name.removeprefix("model.kind=") for name in settings if name.startswith("model.kind=")
    ]
    if "--model" in more:
        named.append(more[more.index("--model") + 1])
    return OURS.get(named[-1] if named else "crossan")


def _is_of(setting, kind):
    """Whether the kind has the setting: tests share their small sizes over all kinds."""
    group, _, name = setting.partition("=")[0].rpartition(".")
    return kind is None or group != "model" or name in kind.model_fields


def train_in(place, settings, *more, out="r"):
    """Train so; Typer's result has the run's as its last line of stdout."""
    return run(train, *training(place, settings, *more, out=out))


def train_quickly(place, *more, out="r", epochs=12):
    """Train a small model so and return the result."""
    settings = (*QUICK, f"max_epochs={epochs}")
    return json.loads(train_in(place, settings, *more, out=out).stdout.splitlines()[-1])
