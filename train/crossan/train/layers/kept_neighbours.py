"""Files of nearest items, which take seconds to compute and follow from vectors alone."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from pathlib import Path

import numpy as np
from torch import Tensor

from crossan.cache_schema.errors import CrossanError
from crossan.common.files import replace_unsynced

__all__ = ["keep_neighbours", "kept_neighbours", "neighbours_key"]

_RULE = "cosine-1"
"""Changed whenever the same vectors would have other neighbours."""


def neighbours_key(vectors: Tensor, is_present: Tensor, k: int) -> str:
    """Return the digest of all that the neighbours of items follow from, hex.

    What lies in the row of an absent item is no part of it.
    """
    digest = hashlib.sha256(f"{_RULE} {k} {tuple(vectors.shape)} {vectors.device.type}".encode())
    digest.update(is_present.numpy(force=True).tobytes())
    digest.update(vectors[is_present].float().numpy(force=True).tobytes())
    return digest.hexdigest()


def kept_neighbours(key: str, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return neighbours and cosines that were kept, None where there are none, or damaged ones."""
    try:
        # The file is a zip archive, which has a checksum of each array.
        with np.load(io.BytesIO(_file(key).read_bytes()), allow_pickle=False) as arrays:
            neighbours, cosines = arrays["neighbours"], arrays["cosines"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    is_whole = (
        neighbours.shape == cosines.shape == shape
        and neighbours.dtype == np.int32
        and cosines.dtype == np.float32
        and bool(((neighbours >= -1) & (neighbours < shape[0])).all())
        and bool(np.isfinite(cosines).all())
    )
    return (neighbours, cosines) if is_whole else None


def keep_neighbours(key: str, kept: tuple[np.ndarray, np.ndarray]) -> None:
    """Keep neighbours and cosines for the next run, where there is a place for them."""
    written = io.BytesIO()
    np.savez(written, neighbours=kept[0], cosines=kept[1])
    try:
        file = _file(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_unsynced(file, written.getbuffer())
    except (OSError, CrossanError):
        # Full or read-only. The next run computes them again.
        return


def _file(key: str) -> Path:
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crossan"
    except RuntimeError as error:
        # A container's user without a name and HOME.
        raise FileNotFoundError(str(error)) from None
    return folder / "item-graphs" / f"{key}.npz"
