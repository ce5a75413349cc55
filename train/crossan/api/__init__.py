"""crossan from Python: datasets, stores and runs, in a notebook or a program.

Everything named here is a promise: it keeps its name and its meaning, and a
change is announced in the changelog. Nothing else of crossan is one.

The names load on first use, so that ``import crossan.api`` loads no torch.
Errors are `CrossanError` or one of its kinds: they say what was expected, what
was found, and how to mend it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossan.api.datasets import Dataset, open_dataset
    from crossan.api.errors import (
        ConfigError,
        CrossanError,
        DataError,
        UnknownIdError,
        UsageError,
    )
    from crossan.api.opening import open_run
    from crossan.api.runs import Run
    from crossan.api.stores import Cache, Store, open_cache
    from crossan.api.training import train
    from crossan.train.objectives.own import BatchScores

__all__ = [
    "BatchScores",
    "Cache",
    "ConfigError",
    "CrossanError",
    "DataError",
    "Dataset",
    "Run",
    "Store",
    "UnknownIdError",
    "UsageError",
    "open_cache",
    "open_dataset",
    "open_run",
    "train",
]

_HOME = {
    "BatchScores": "crossan.train.objectives.own",
    "Cache": "crossan.api.stores",
    "ConfigError": "crossan.api.errors",
    "CrossanError": "crossan.api.errors",
    "DataError": "crossan.api.errors",
    "Dataset": "crossan.api.datasets",
    "Run": "crossan.api.runs",
    "Store": "crossan.api.stores",
    "UnknownIdError": "crossan.api.errors",
    "UsageError": "crossan.api.errors",
    "open_cache": "crossan.api.stores",
    "open_dataset": "crossan.api.datasets",
    "open_run": "crossan.api.opening",
    "train": "crossan.api.training",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module attribute can be anything
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
