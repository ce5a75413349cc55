"""The user encoder of a hybrid of runs, and the chain that its products are added to."""

from __future__ import annotations

from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from crossan.train.export.program import UserEncoder
from crossan.train.models.hybrid_of_runs import HybridOfRuns
from crossan.train.sequences.padding import PADDING

__all__ = ["HybridUserEncoder", "chain_bytes", "chain_facts", "length_read", "term_facts"]


class HybridUserEncoder(nn.Module):
    """From the rows of a user's last items to what a hybrid multiplies item vectors by.

    Parameters
    ----------
    model
        The hybrid, on the CPU.
    input_length
        Items that its runs' models read.
    item_vectors
        Those of the catalogue, of which the widths are taken.

    Shapes
    ------
    Those of `UserEncoder`.
    """

    def __init__(self, model: HybridOfRuns, input_length: int, item_vectors: Tensor) -> None:
        super().__init__()
        parts = model.parts_of(item_vectors)
        self._widths = [part.shape[1] for part in (*parts.of_bases, parts.content, parts.is_cold)]
        self._length, self._weights = input_length, model.weights
        self._decay, self._window = model.decay, model.window
        self._divisors = model.divisors
        self.encoders = nn.ModuleList(
            UserEncoder(base.sequence_encoder) for base in model.base_models()
        )

    def forward(self, rows: Tensor, item_vectors: Tensor) -> Tensor:
        """Return the user vectors, ``(users, width)``."""
        *of_bases, content, is_cold = item_vectors.split(self._widths, dim=1)
        last = rows[:, -self._length :]
        of_each = zip(self.encoders, of_bases, self._divisors, strict=True)
        users = [encoder(last, part) / divisor for encoder, part, divisor in of_each]
        read = rows[:, -self._window :]
        ages = torch.arange(read.shape[1] - 1, -1, -1)
        items = read.clamp(min=0)
        lengths = 1.0 + self._weights.cold_content * is_cold.squeeze(1)[items]
        counted = self._decay**ages * (read != PADDING) / lengths
        tastes = (counted.unsqueeze(2) * content[items]).sum(dim=1)
        taste = nn.functional.normalize(tastes, dim=1)
        mean = torch.cat(users, dim=1)
        bonus = torch.full_like(mean[:, :1], self._weights.cold_bonus)
        return torch.cat([mean, self._weights.content * taste, bonus], dim=1)


def length_read(model: HybridOfRuns, input_length: int) -> int:
    """Return how many items of a history the program reads, for the models and the content."""
    return max(input_length, model.window)


def chain_bytes(model: HybridOfRuns) -> bytes:
    """Return what followed what as safetensors, row after row.

    ``begins`` ``(items + 1,)`` int64 says where the pairs of an item begin among
    ``columns`` ``(pairs,)`` int32 and ``gains`` ``(pairs,)`` float32.
    """
    pairs = model.pairs.pairs
    names = ("gains", "columns", "begins")
    data: bytes = safetensors.torch.save({name: getattr(pairs, name).cpu() for name in names})
    return data


def chain_facts(model: HybridOfRuns) -> dict[str, Any]:
    """Return what the manifest says of the chain."""
    return {
        "co_occurrence": model.weights.co_occurrence,
        "decay": model.decay,
        "window": model.window,
    }


def term_facts(model: HybridOfRuns) -> dict[str, Any]:
    """Return what the manifest says of the numbers that the user encoder joins.

    ``divisors`` are what the user vector of each run is divided by, in the order of the
    encoders. ``content`` is what the decayed sum of a history's content is multiplied by,
    at the length 1, and ``cold_bonus`` the last number of every user vector. The content
    of an item vector has the length 1, or 1 + ``cold_content`` where the vector's last
    number is 1; histories read it at the length 1.
    """
    weights = model.weights
    return {
        "divisors": list(model.divisors),
        "content": weights.content,
        "content_width": 0 if model.content is None else model.content.width,
        "cold_bonus": weights.cold_bonus,
        "cold_content": weights.cold_content,
    }
