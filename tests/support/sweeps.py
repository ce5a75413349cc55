"""Sweeps of small models: run in this process or as a process of their own, on real stores of made-up values."""

from __future__ import annotations

import json

from crossan.train.cli import train
from crossan.train.sweep.cli import sweep
from support.commands import attempt, run, training

SETTINGS = (
    "model.bottleneck_dim=8",
    "model.width=16",
    "optimiser.adapter_lr=0.01",
    "batch_size=32",
    "max_epochs=3",
)
WEIGHTS = (
    "checkpoints/best/model.safetensors",
    "checkpoints/last/model.safetensors",
    "metrics.jsonl",
)


def arguments(place, *more, out="s"):
    """Return the arguments of a sweep, or of a training with its settings, from ``d`` and ``c`` in a folder."""
    return [str(argument) for argument in training(place, SETTINGS, *more, out=out)]


def attempt_sweep(place, *more):
    """Sweep to ``s``; return Typer's result, whatever came of it."""
    return attempt(sweep, *arguments(place, *more))


def run_sweep(place, *more, out="s"):
    """Sweep; return the report."""
    return json.loads(run(sweep, *arguments(place, *more, out=out)).stdout)


def run_train(place, *more, out):
    """Train with a sweep's settings; return the result."""
    return json.loads(run(train, *arguments(place, *more, out=out)).stdout.splitlines()[-1])


def train_here(commands, slots, told, on_end, on_look=None):
    """Stand in for `run_commands`: the same commands, in this process."""
    for command in commands:
        run(train, *command.arguments, "--device", slots[0].device)
        on_end(command, 0, "")


def linked(folder, place):
    """Have a folder share dataset and cache of another; return it."""
    folder.mkdir(exist_ok=True)
    for name in ("d", "c"):
        (folder / name).symlink_to(place / name)
    return folder
