"""Dataset folders, which hold interactions, items and where their media lie.

Belongs here: the folder format, imports into it, the leave-one-out protocol,
the doctor. Does not belong here: decoding media (extract) and models (train).
The names load on first use, so that ``crossan data --help`` imports no Arrow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossan.common.datasets.folder import Dataset, open_dataset, write_dataset
    from crossan.common.datasets.keeping import keep_sequences
    from crossan.common.datasets.protocol import KeptSequences, SelectionSequences

__all__ = [
    "Dataset",
    "KeptSequences",
    "SelectionSequences",
    "keep_sequences",
    "open_dataset",
    "write_dataset",
]

_HOME = {
    "Dataset": "folder",
    "KeptSequences": "protocol",
    "SelectionSequences": "protocol",
    "keep_sequences": "keeping",
    "open_dataset": "folder",
    "write_dataset": "folder",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module attribute can be anything
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
