"""``crossan-train --of``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossan.cache_schema.errors import UsageError

if TYPE_CHECKING:
    from crossan.common.config import Base

__all__ = ["of_runs"]

_MODELS = ("hybrid", "hybrid-of-runs")


def of_runs(of: str | None, flags: dict[str, Any]) -> list[Base]:
    """Return the settings that ``--of`` stands for, none where it is not given.

    Parameters
    ----------
    of
        Run folders with commas between them.
    flags
        Values of the other flags, of which the model's name becomes that of the hybrid of runs,
        and the dataset that of the runs where none is given.

    Raises
    ------
    UsageError
        Another model is named, or no run, or one that no hybrid can be made of.
    """
    if of is None:
        return []
    if flags["--model"] not in _MODELS:
        raise UsageError(
            f"--of: expected --model hybrid with it, got {flags['--model'] or 'no --model'}",
            remedy=f"crossan-train --model hybrid --of {of} --out FOLDER",
        )
    paths = [Path(name) for name in of.split(",") if name]
    if not paths:
        raise UsageError(
            "--of: expected run folders with commas between them, got none",
            remedy="crossan-train --model hybrid --of RUN,RUN --out FOLDER",
        )
    from crossan.train.runs.of_runs import settings_of_runs

    cache = flags["--cache"]
    base = settings_of_runs(paths, None if cache is None else Path(cache))
    flags["--model"] = base.values["model.kind"]
    if flags["--dataset"] is None:
        flags["--dataset"] = base.values["data.dataset"]
    return [base]
