r"""Item vectors by backbones that are trained, with the memory of a few items at a time.

Every modality an item has goes through its backbone, a linear map and a GELU, and a
fusion makes one vector of the outputs (``Code_Uncached`` of GAIR-Lab/IISAN at
commit 67f5c1f).

A step needs the vectors of all items of a batch before it has a loss. Items are
encoded in chunks that keep nothing but their vectors. The gradient at these
vectors is all that a chunk needs, so in the backward pass each is encoded once
more, with the random numbers of the first time, and differentiated. The result is
that of one large pass. The memory is that of one chunk, and there is one forward
more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

__all__ = ["ItemArrays", "TunedEncoder"]


class ItemArrays(Protocol):
    """The model inputs of some items of one modality, read when they are needed."""

    def read(self, positions: Sequence[int]) -> list[Mapping[str, npt.NDArray[Any]]]:
        """Return the arrays of items by name, each at its position among the items."""


class TunedEncoder(nn.Module):
    """Make one vector per item by backbones, heads and a fusion.

    Parameters
    ----------
    backbones
        One per modality, from the arrays of some items to ``(items, dim_m)``.
    heads
        One per modality, from that width to the width of item vectors.
    fusion
        From outputs ``(items, modality, width)`` and presence to ``(items, width)``.
    chunk_size
        Items that are encoded at a time.
    dtype
        What backbones are computed in, None for the dtype of their weights.
    text_position
        Place of the modality whose backbone has a rate of its own, None for none.

    Shapes
    ------
    ``inputs``: one `ItemArrays` of the same items per modality; ``presence``:
    ``(items, modality)`` bool; result: ``(items, width)``.
    """

    def __init__(
        self,
        backbones: Sequence[nn.Module],
        heads: Sequence[nn.Module],
        fusion: nn.Module,
        *,
        chunk_size: int,
        dtype: torch.dtype | None = None,
        text_position: int | None = None,
    ) -> None:
        super().__init__()
        self.backbones, self.heads = nn.ModuleList(backbones), nn.ModuleList(heads)
        self.fusion = fusion
        self._chunk_size, self._dtype, self._text = chunk_size, dtype, text_position

    def forward(self, inputs: Sequence[ItemArrays], presence: Tensor) -> Tensor:
        """Return the item vectors, shape ``(items, width)``."""
        count = len(presence)
        if count <= self._chunk_size:
            return self.plain(inputs, presence)
        # Where items are is worked out on the CPU: no chunk waits for a device.
        is_there = presence.cpu()
        parts = []
        for chunk in torch.arange(count).split(self._chunk_size):
            arguments = (inputs, presence[int(chunk[0]) : int(chunk[-1]) + 1], is_there, chunk)
            if torch.is_grad_enabled():
                parts.append(checkpoint(self._encode, *arguments, use_reentrant=False))
            else:
                parts.append(self._encode(*arguments))
        return torch.cat(parts)

    def plain(self, inputs: Sequence[ItemArrays], presence: Tensor) -> Tensor:
        """Return the same from one pass over all items, which keeps what they need.

        This is the slow twin of `forward`.
        """
        return self._encode(inputs, presence, presence.cpu(), torch.arange(len(presence)))

    def adapter_parameters(self) -> list[nn.Parameter]:
        """Return what is trained inside the backbones but that of text."""
        others = [m for m in range(len(self.backbones)) if m != self._text]
        return self._trained(others)

    def text_parameters(self) -> list[nn.Parameter]:
        """Return what is trained inside the backbone of text."""
        return self._trained([] if self._text is None else [self._text])

    def _trained(self, places: Sequence[int]) -> list[nn.Parameter]:
        parameters = (each for m in places for each in self.backbones[m].parameters())
        return [parameter for parameter in parameters if parameter.requires_grad]

    def _encode(
        self, inputs: Sequence[ItemArrays], presence: Tensor, is_there: Tensor, rows: Tensor
    ) -> Tensor:
        """Return the vectors of some rows, of which ``presence`` is on the device."""
        outputs = [
            self._output(m, arrays, rows, is_there[rows, m].nonzero()[:, 0], presence.device)
            for m, arrays in enumerate(inputs)
        ]
        vectors: Tensor = self.fusion(torch.stack(outputs, dim=1), presence)
        return vectors

    def _output(
        self, m: int, arrays: ItemArrays, rows: Tensor, present: Tensor, device: torch.device
    ) -> Tensor:
        """Return one modality's outputs, ``(rows, width)``, zeros where it is absent."""
        head = self.heads[m]
        weight = next(head.parameters())
        whole = weight.new_zeros(len(rows), len(weight))
        if not len(present):
            return whole
        batch = arrays.read(rows[present].tolist())
        with torch.autocast(device.type, self._dtype, enabled=self._dtype is not None):
            pooled = self.backbones[m](batch)
        output = F.gelu(head(pooled.to(weight.dtype)))
        return whole.index_copy(0, present.to(device), output)
