"""CROSSAN whole: hidden states of the kept layers to item vectors, item vectors to user vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from crossan.train.features import Features, Fetched
from crossan.train.layers.frozen_towers import FrozenTowers
from crossan.train.layers.id_embedding import IdEmbedding
from crossan.train.layers.momef import Momef
from crossan.train.layers.sequence_encoder import SequenceEncoder
from crossan.train.layers.tower import SideAdapterTowers
from crossan.train.settings import ModelSettings

__all__ = ["Crossan", "ItemEncoder"]


class ItemEncoder(nn.Module):
    """Side-adapter towers and MOMEF: one vector per item.

    Shapes
    ------
    ``hidden``: one ``(items, layer, dim_m)`` per modality in the order of
    `Modality`, in any float dtype; ``presence``: ``(items, modality)`` bool;
    result: ``(items, width)``.
    """

    def __init__(self, towers: SideAdapterTowers | FrozenTowers, fusion: Momef) -> None:
        super().__init__()
        self.towers, self.fusion = towers, fusion

    def forward(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        """Return the item vectors, shape ``(items, width)``."""
        return self.fusion(self.towers(hidden, presence), presence)  # type: ignore[no-any-return]

    def plain(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        """Return the same by plain modules and autograd: the slow twin of `forward`."""
        return self.fusion(self.towers.plain(hidden, presence), presence)  # type: ignore[no-any-return]


class Crossan(nn.Module):
    """The trained parts; a score is the dot product of a user vector and an item vector.

    Parameters
    ----------
    item_encoder
        From hidden states to item vectors; None where items are their ids alone.
    sequence_encoder
        From item vectors to user vectors.
    id_embedding
        A vector of its own for every item, added to the encoder's; None where items are their content alone.
    """

    def __init__(
        self,
        item_encoder: ItemEncoder | None,
        sequence_encoder: SequenceEncoder,
        id_embedding: IdEmbedding | None = None,
    ) -> None:
        super().__init__()
        if item_encoder is None and id_embedding is None:
            raise ValueError("expected an item encoder, an id embedding or both, got neither")
        self.item_encoder, self.sequence_encoder, self.id_embedding = (
            item_encoder,
            sequence_encoder,
            id_embedding,
        )

    @classmethod
    def build(
        cls,
        dims: Sequence[int],
        layer_count: int,
        input_length: int,
        settings: ModelSettings,
        is_trained: Tensor | None = None,
    ) -> Crossan:
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
        is_trained
            Which catalogue items occur in training, ``(items,)`` bool; read with ``id_embedding`` only.
        """
        if settings.compute == "auto":
            raise ValueError(
                "expected model.compute to be settled before the model is built, got 'auto'"
            )
        item_encoder, id_embedding = None, None
        if settings.content:
            towers = _towers(dims, layer_count, settings)
            fusion = Momef(
                len(dims), settings.width, min(settings.top_k, len(dims)), settings.combine
            )
            item_encoder = ItemEncoder(towers, fusion)
        encoder = SequenceEncoder(
            settings.width, input_length, settings.blocks, settings.heads, settings.dropout
        )
        if settings.id_embedding:
            if is_trained is None:
                raise ValueError(
                    "expected the trained items of the catalogue with model.id_embedding, got None"
                )
            id_embedding = IdEmbedding(
                is_trained, settings.width
            )  # drawn last: the rest begins as it does without
        return cls(item_encoder, encoder, id_embedding)

    def item_vectors(self, features: Features | Fetched, rows: Tensor) -> Tensor:
        """Return the item vectors of catalogue rows ``(any,)``, shape ``(any, width)``."""
        return self._joined(self.item_encoder, features, rows)

    def plain_item_vectors(self, features: Features | Fetched, rows: Tensor) -> Tensor:
        """Return the same by plain modules and autograd: the slow twin of `item_vectors`."""
        return self._joined(
            None if self.item_encoder is None else self.item_encoder.plain, features, rows
        )

    def trainable_parameter_count(self) -> int:
        """Return how many numbers training changes."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    def _joined(
        self, encode: Callable[..., Tensor] | None, features: Features | Fetched, rows: Tensor
    ) -> Tensor:
        """Return content, own vector or their sum."""
        parts = [] if encode is None else [encode(*features.gather(rows))]
        if self.id_embedding is not None:
            parts.append(self.id_embedding(rows))
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def _towers(
    dims: Sequence[int], layer_count: int, settings: ModelSettings
) -> SideAdapterTowers | FrozenTowers:
    if not settings.adapters:
        return FrozenTowers(dims, settings.width)
    compute_dtype = torch.bfloat16 if settings.compute == "bfloat16" else None
    return SideAdapterTowers(
        dims, layer_count, settings.bottleneck_dim, settings.width, compute_dtype
    )
