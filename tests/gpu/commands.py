"""The product's commands, in this process: a start takes seconds, of which a lent card has few."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from crossan.cache_schema.errors import CrossanError
from crossan.common.umbrella import build_app
from crossan.train.loop.progress import TrainingProgress
from crossan.train.loop.recorder import Recorder
from crossan.train.loop.trainer import fit
from crossan.train.runs import training
from support.stopping import at_step

__all__ = [
    "crossan",
    "differing_weights",
    "interrupted",
    "steps_by",
    "unfinished",
    "weights_of",
]


def crossan(*arguments: object) -> dict[str, Any]:
    """Run a command with ``--json`` and return what it prints.

    The peak of the card's memory is counted anew.

    Raises
    ------
    RuntimeError
        It ends with another code than 0; the message has the end of what it said.
    """
    words = [str(argument) for argument in arguments]
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    done = CliRunner().invoke(build_app(words[0]), [*words, "--json"], env=_environment())
    if done.exit_code:
        error = done.exception
        raise RuntimeError(
            f"{' '.join(words)}: {done.exit_code}, {error!r}\n{done.stderr[-2000:]}"
        ) from error
    printed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return printed


def interrupted(*arguments: object, step: int) -> int:
    """Run a training, tell it to end before a step, counted from 1, and return its exit code."""
    words = [str(argument) for argument in arguments]
    end = at_step(step, lambda: os.kill(os.getpid(), signal.SIGTERM))
    training.fit = partial(fit, on_step=end)
    try:
        return CliRunner().invoke(build_app(words[0]), words, env=_environment()).exit_code
    finally:
        training.fit = fit


def unfinished(*arguments: object) -> tuple[int, str]:
    """Run a command that one of our errors ends; return its exit code and what the error says.

    Raises
    ------
    RuntimeError
        It ends well, or with another error.
    """
    words = [str(argument) for argument in arguments]
    done = CliRunner().invoke(build_app(words[0]), words, env=_environment())
    error = done.exception
    if not isinstance(error, CrossanError):
        raise RuntimeError(f"{' '.join(words)}: expected an error of ours, got {error!r}")
    return error.exit_code, str(error)


@contextmanager
def steps_by(recorder: Recorder) -> Iterator[None]:
    """Have trainings inside the block record their steps by something else than their device."""

    def fit_by(*arguments: Any, **named: Any) -> TrainingProgress:
        return fit(*arguments, **{**named, "recorder": recorder})

    training.fit = fit_by
    try:
        yield
    finally:
        training.fit = fit


def differing_weights(run: Path, other: Path) -> float:
    """Return how far the best weights of two runs are apart, relative to their size."""
    ours, theirs = (load_file(_weights_file(folder)) for folder in (run, other))
    if ours.keys() != theirs.keys():
        return float("nan")
    apart = sum(
        float((ours[name].double() - theirs[name].double()).square().sum()) for name in ours
    )
    size = sum(float(weight.double().square().sum()) for weight in theirs.values())
    return float((apart / size) ** 0.5)


def weights_of(run: Path) -> str:
    """Return a digest of the best weights of a run."""
    return hashlib.sha256(_weights_file(run).read_bytes()).hexdigest()


def _weights_file(run: Path) -> Path:
    return run / "checkpoints" / "best" / "model.safetensors"


def _environment() -> dict[str, str | None]:
    """Return the changes to the environment by which no variable sets anything."""
    return {name: None for name in os.environ if name.startswith("CROSSAN_")}
