"""The command line of each step, from checked specs and paths of ours alone.

Each is a list of words for one of our programs, never a line for a shell.
"""

from __future__ import annotations

import sys
from pathlib import Path

from crossan.cache_schema import Modality
from crossan.train.service.nights.inbox import Inbox
from crossan.train.service.specs import GateSpec

__all__ = [
    "evaluate_argv",
    "extract_argv",
    "gate_argv",
    "refit_argv",
    "train_argv",
    "update_argv",
]

# -P keeps the current folder out of the path that Python imports from.
_CROSSAN = (sys.executable, "-P", "-m", "crossan")


def update_argv(dataset: Path, inbox: Inbox) -> tuple[str, ...]:
    """Return the command that adds an inbox to a dataset."""
    return (*_CROSSAN, "data", "update", str(dataset), *inbox.options, "--json")


def extract_argv(dataset: Path, cache: str, modality: Modality, backbone: str) -> tuple[str, ...]:
    """Return the command that brings the store of a modality up to date."""
    return (
        *(*_CROSSAN, "extract", "--modality", modality.value),
        *("--dataset", str(dataset), "--cache", cache),
        *("--backbone", backbone, "--json"),
    )


def train_argv(
    out: Path,
    dataset: Path,
    cache: str,
    config: Path,
    *,
    recipe: str | None = None,
    init: Path | None = None,
    refit: str = "none",
) -> tuple[str, ...]:
    """Return the command that trains a run, or goes on with it.

    Parameters
    ----------
    out
        The run folder.
    dataset, cache
        Named as flags too, which win over the variables that would name others.
    config
        All settings of the run.
    recipe
        The row that its result is held against.
    init
        Run whose weights it begins from.
    refit
        What it is refitted on in the same command.
    """
    return (
        *(*_CROSSAN, "train", "--out", str(out), "--resume"),
        *("--dataset", str(dataset), "--cache", cache, "--config", str(config)),
        *(() if recipe is None else ("--recipe", recipe)),
        *(() if init is None else ("--init", str(init))),
        *(() if refit == "none" else ("--refit", refit)),
    )


def refit_argv(out: Path, dataset: Path, cache: str, scope: str) -> tuple[str, ...]:
    """Return the command that refits a finished run on what was held out, too."""
    return (
        *(*_CROSSAN, "train", "--out", str(out), "--resume"),
        *("--dataset", str(dataset), "--cache", cache, "--refit", scope),
    )


def evaluate_argv(run: Path, dataset: Path, cache: str, out: Path) -> tuple[str, ...]:
    """Return the command that ranks a run's targets on a dataset as it is now."""
    return (
        *(*_CROSSAN, "evaluate", str(run), "--out", str(out)),
        *("--dataset", str(dataset), "--cache", cache),
    )


def gate_argv(candidate: Path, production: Path, rule: GateSpec) -> tuple[str, ...]:
    """Return the command that holds a run against what is in production."""
    return (
        *(*_CROSSAN, "gate", str(candidate), str(production)),
        *("--margin", str(rule.margin), "--confidence", str(rule.confidence)),
        *("--cold-margin", str(rule.cold_margin), "--json"),
    )
