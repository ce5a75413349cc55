"""What a checkpoint's tokeniser or processor amounts to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from crossan.extract.backbones.preparing import Preparer

__all__ = ["Processing"]


@dataclass(frozen=True, slots=True)
class Processing:
    """How one medium becomes model inputs, and what fixes that."""

    preparer: Preparer
    """One decoded medium to named arrays; picklable, because worker processes call it."""
    processor_class: str
    processor_config: Mapping[str, Any]
    """Every setting that the inputs depend on, as JSON; no path."""
    finish: nn.Module | None = None
    """Batched tensors by name to the model's arguments by name, on the compute device.

    None where the batched tensors are the model's arguments already.
    """
    preparation: str = "own"
    """``vectorised`` by our code, ``processor`` by that of transformers, ``own`` by a plug-in's."""
    tokenizer_sha256: str | None = None
    max_length: int | None = None
    """Most tokens of a title."""
    sampling_rate: int | None = None
    """Hz."""
    frame_count: int | None = None
    family_revision: int | None = None
    """Revision of the family that the identity names.

    None is the newest. An older one gives the same numbers for this checkpoint.
    """

    def identity(self) -> dict[str, Any]:
        """Return what fixes the model inputs, as JSON."""
        return {
            "processor": self.processor_class,
            "processor_config": dict(self.processor_config),
            "preparation": self.preparation,
            "tokenizer_sha256": self.tokenizer_sha256,
            "max_length": self.max_length,
        }
