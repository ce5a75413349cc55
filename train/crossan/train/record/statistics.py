"""The statistics by which a run standardises its hidden states.

They belong to the weights, which mean nothing under others: whatever uses the
run, on whatever data, uses the statistics that lie in its folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.common.files import replace_durably
from crossan.common.foreign import read_bounded

__all__ = ["STATISTICS_FILE", "read_statistics", "statistics_digest", "write_statistics"]

STATISTICS_FILE = "standardise.safetensors"
_DIGEST = "sha256"
"""Name of the tensor that holds the digest of the others."""
_LARGEST = 2**30
"""Bytes."""


def write_statistics(folder: Path, statistics: Mapping[str, Tensor]) -> None:
    """Record named tensors in a run folder, unless some are recorded."""
    path = folder / STATISTICS_FILE
    if not path.is_file():
        replace_durably(path, _encode(statistics))


def read_statistics(folder: Path) -> dict[str, Tensor] | None:
    """Return the tensors that are recorded in a run folder, None for no file.

    Raises
    ------
    StoreIntegrityError
        The file is not the one that was written.
    """
    path = folder / STATISTICS_FILE
    try:
        data = read_bounded(path, StoreIntegrityError, _LARGEST)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        tensors: dict[str, Tensor] = load(data)
        tensors.pop(_DIGEST)
        # Encoding again is the check: the same tensors have only one file.
        is_whole = _encode(tensors) == data
    except (SafetensorError, KeyError, ValueError, RuntimeError):
        is_whole = False
    if not is_whole:
        raise StoreIntegrityError(
            f"{path}: its bytes are not those that were written",
            remedy="Move it aside, and make it anew from the same stores:"
            f" crossan-train --config {folder}/config.toml --out {folder} --resume",
        )
    return tensors


def statistics_digest(statistics: Mapping[str, Tensor]) -> str:
    """Return the sha256 of named tensors."""
    return hashlib.sha256(save(dict(statistics))).hexdigest()


def _encode(statistics: Mapping[str, Tensor]) -> bytes:
    """Return the file of named tensors, with the digest of the rest of it."""
    digest = bytearray.fromhex(statistics_digest(statistics))
    data: bytes = save({**statistics, _DIGEST: torch.frombuffer(digest, dtype=torch.uint8)})
    return data
