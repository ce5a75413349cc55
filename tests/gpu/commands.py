"""The product's commands, in this process: a start takes seconds, of which a lent card has few."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import torch
from typer.testing import CliRunner

from crossan.common.umbrella import build_app
from crossan.train.loop.trainer import fit
from crossan.train.runs import training
from support.stopping import at_step

__all__ = ["crossan", "interrupted", "weights_of"]


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


def weights_of(run: Path) -> str:
    """Return a digest of the best weights of a run."""
    weights = run / "checkpoints" / "best" / "model.safetensors"
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def _environment() -> dict[str, str | None]:
    """Return the changes to the environment by which no variable sets anything."""
    return {name: None for name in os.environ if name.startswith("CROSSAN_")}
