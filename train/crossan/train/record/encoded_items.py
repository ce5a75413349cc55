"""The item vectors of a validation that was cut short, so that the next one goes on from them.

Where backbones are trained, to encode the catalogue takes as long as many steps. The
file holds the first rows and the digest of the weights that they were encoded by:
of other weights nothing is taken.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.common.console import note
from crossan.common.files import remove_durably, replace_durably
from crossan.common.foreign import read_bounded

__all__ = ["EncodedItems"]

_FILE = "item_vectors.safetensors"
_LARGEST = 2**34
_DIGEST = hashlib.sha256().digest_size
"""Bytes of the digest that the file begins with, that of what follows."""


class EncodedItems:
    """What is kept of an encoding of the catalogue in a run folder.

    Parameters
    ----------
    folder
        The run folder.
    weights
        Digest of the weights that encode, in hexadecimal digits.
    every_seconds
        Seconds of encoding that an interruption costs at most.
    """

    def __init__(self, folder: Path, weights: str, every_seconds: float) -> None:
        self._path, self._every_seconds = folder / _FILE, every_seconds
        self._weights = torch.frombuffer(bytearray.fromhex(weights), dtype=torch.uint8)
        self._written = time.monotonic()

    def take(self) -> Tensor | None:
        """Return the first rows that were encoded by these weights, None where none were."""
        try:
            data = read_bounded(self._path, StoreIntegrityError, _LARGEST)
        except FileNotFoundError:
            return None
        digest, content = data[:_DIGEST], data[_DIGEST:]
        try:
            if hashlib.sha256(content).digest() != digest:
                raise SafetensorError("other bytes than were written")
            tensors = load(content)
            weights, vectors = tensors["weights"], tensors["vectors"]
        except (SafetensorError, KeyError) as error:
            note(f"{self._path}: not used, encoding all items again: {error}")
            return None
        return vectors if torch.equal(weights, self._weights) else None

    def keep(self, vectors: Tensor, *, is_last: bool = False) -> None:
        """Write the rows that are encoded so far, where that is due.

        Parameters
        ----------
        vectors
            ``(rows, width)``, from the first row of the catalogue on.
        is_last
            Whether nothing more is encoded now, so that they are written in any case.
        """
        if not is_last and time.monotonic() - self._written < self._every_seconds:
            return
        tensors = {"vectors": vectors.cpu().contiguous(), "weights": self._weights}
        content = save(tensors)
        replace_durably(self._path, hashlib.sha256(content).digest() + content)
        self._written = time.monotonic()

    def forget(self) -> None:
        """Remove the rows, as all items are encoded."""
        remove_durably(self._path)
