r"""Vectors of items whose products are the likeness of their content.

With :math:`h_{il}` the state that layer l of a modality has of item i, and
:math:`m_l` its mean over the items that have the modality,

.. math:: x_i = \left[ \frac{h_{il} - m_l}{\lVert h_{il} - m_l \rVert} \right]_l,
   \qquad c_i = \frac{B^\top x_i}{\lVert B^\top x_i \rVert},

the layers of all modalities side by side, zeros for a modality that the item
lacks. B holds the principal directions of the x, or all directions where they are
no more than its columns: then :math:`c_i^\top c_j` is the cosine of the two items.
No publication has this rule. Of each layer alone the size would drown the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["ContentVectors"]

_LEAST = 1e-12
"""Length below which a vector is no direction, and stays zero."""


class ContentVectors(nn.Module):
    """Make a vector of length 1 of the hidden states of an item.

    Parameters
    ----------
    dims
        Width of the hidden states of each modality.
    layer_count
        Kept layers of each.
    width
        Columns of B at most.

    Shapes
    ------
    ``hidden``: one ``(items, layer, dim_m)`` per modality, in any float dtype;
    ``presence``: ``(items, modality)`` bool; result: ``(items, width)`` float32.
    """

    means: Tensor
    """Mean of each layer of each modality one after another, ``(directions,)``."""
    basis: Tensor
    """B, ``(directions, width)``."""

    def __init__(self, dims: Sequence[int], layer_count: int, width: int) -> None:
        super().__init__()
        self._shapes = [(layer_count, dim) for dim in dims]
        count = layer_count * sum(dims)
        self.register_buffer("means", torch.zeros(count))
        self.register_buffer("basis", torch.eye(count, min(width, count)))

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return self.basis.shape[1]

    @property
    def is_whole(self) -> bool:
        """Whether there are as many columns as directions, so that nothing is lost."""
        return self.basis.shape[0] == self.basis.shape[1]

    def forward(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        """Return the vectors c, ``(items, width)``."""
        return _of_length_one(self.directions(hidden, presence) @ self.basis)

    def directions(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        """Return the vectors x, ``(items, directions)`` float32."""
        means = self.means.split([layers * dim for layers, dim in self._shapes])
        parts = []
        for m, (states, mean) in enumerate(zip(hidden, means, strict=True)):
            is_absent = ~presence[:, m, None, None]
            # First, as an absent row may hold anything, NaN included.
            present = states.masked_fill(is_absent, 0.0).float()
            centred = present - mean.view(self._shapes[m])
            parts.append(_of_length_one(centred).masked_fill(is_absent, 0.0).flatten(1))
        return torch.cat(parts, dim=1)


def _of_length_one(vectors: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return torch.where(length > _LEAST, vectors / length.clamp(min=_LEAST), 0.0)
