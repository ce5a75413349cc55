"""Opening a run folder from Python."""

from __future__ import annotations

from pathlib import Path

from crossan.api.opened import OpenedModel, Place
from crossan.api.own_code import used_by
from crossan.api.runs import Run
from crossan.train.record.run_folder import RunFolder

__all__ = ["open_run"]


def open_run(
    path: Path | str,
    *,
    dataset: Path | str | None = None,
    cache: Path | str | None = None,
    device: str = "auto",
    fusion: object = None,
    objective: object = None,
    allow_stale: bool = False,
) -> Run:
    """Open a run folder.

    Its settings and figures are read at once, its weights, its dataset and its
    stores when they are first needed.

    Parameters
    ----------
    path
        The run folder.
    dataset, cache
        Where the run's data lie now, if not where they were when it was trained.
    device
        Where to compute: ``auto``, ``cpu``, ``cuda``, ``cuda:1``.
    fusion, objective
        The run's own ones, if it was trained with code of your own. Code that a run names is
        never imported on the run's word alone: pass it here, or list its module in the variable
        ``CROSSAN_ALLOW_CODE``.
    allow_stale
        Whether items may have other contents than those that the stores were made from.

    Raises
    ------
    UsageError
        There is no run.

    Examples
    --------
    >>> run = crossan.api.open_run("runs/first")
    >>> run.model
    'crossan'
    """
    folder = RunFolder(Path(path))
    parts = used_by(folder.settings(), fusion, objective)
    data_place = Place(
        None if dataset is None else Path(dataset),
        None if cache is None else Path(cache),
        device,
        allow_stale,
    )
    return Run(folder, OpenedModel(folder.path, data_place, parts))
