"""CROSSAN whole: hidden states of the kept layers to item vectors, item vectors to user vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crossan.train.momef import Momef
from crossan.train.sequence_encoder import SequenceEncoder
from crossan.train.settings import ModelSettings
from crossan.train.tower import SideAdapterTowers

__all__ = ["Crossan", "ItemEncoder"]


class ItemEncoder(nn.Module):
    """Side-adapter towers and MOMEF: one vector per item.

    Shapes
    ------
    ``hidden``: one ``(items, layer, dim_m)`` per modality in the order of
    `Modality`, in any float dtype; ``presence``: ``(items, modality)`` bool;
    result: ``(items, width)``.
    """

    def __init__(self, towers: SideAdapterTowers, fusion: Momef) -> None:
        super().__init__()
        self.towers, self.fusion = towers, fusion

    def forward(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        """Return the item vectors, shape ``(items, width)``."""
        return self.fusion(self.towers(hidden, presence), presence)  # type: ignore[no-any-return]

    def plain(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        """Return the same by plain modules and autograd: the slow twin of `forward`."""
        return self.fusion(self.towers.plain(hidden, presence), presence)  # type: ignore[no-any-return]


class Crossan(nn.Module):
    """The two trained parts; a score is the dot product of a user vector and an item vector."""

    def __init__(self, item_encoder: ItemEncoder, sequence_encoder: SequenceEncoder) -> None:
        super().__init__()
        self.item_encoder, self.sequence_encoder = item_encoder, sequence_encoder

    @classmethod
    def build(cls, dims: Sequence[int], layer_count: int, input_length: int, settings: ModelSettings) -> Crossan:
        """Build the model for stores of these widths.

        Parameters
        ----------
        dims
            Width of the hidden states of each modality, in the order of `Modality`.
        layer_count
            Kept layers per modality.
        input_length
            Items the sequence encoder reads at most; the paper's is 10.
        settings
            The shape of everything else.
        """
        if settings.compute == "auto":
            raise ValueError("expected model.compute to be settled before the model is built, got 'auto'")
        compute_dtype = torch.bfloat16 if settings.compute == "bfloat16" else None
        towers = SideAdapterTowers(dims, layer_count, settings.bottleneck_dim, settings.width, compute_dtype)
        fusion = Momef(len(dims), settings.width, min(settings.top_k, len(dims)), settings.combine)
        encoder = SequenceEncoder(settings.width, input_length, settings.blocks, settings.heads, settings.dropout)
        return cls(ItemEncoder(towers, fusion), encoder)

    def trainable_parameter_count(self) -> int:
        """Return how many numbers training changes."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)
