"""Hidden states of several modalities as towers read them, clean and of one width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["aligned", "clean", "make_align"]


def make_align(dims: Sequence[int]) -> nn.ModuleList:
    """Return one map per modality, to the width of the widest.

    A modality that is narrower gets a learned Linear(dim_m, dim), the others
    the identity.
    """
    dim = max(dims)
    return nn.ModuleList(nn.Identity() if dim_m == dim else nn.Linear(dim_m, dim) for dim_m in dims)


def aligned(
    align: Iterable[nn.Module], hidden: Sequence[Tensor], presence: Tensor, dtype: torch.dtype
) -> list[Tensor]:
    """Return the hidden states of each modality in one width, ``(items, layer, dim)``.

    Those that need no map are returned as they are, whatever lies in their
    absent rows: the fused step clears those itself, block by block.

    Parameters
    ----------
    align
        The maps of `make_align`.
    hidden
        ``(items, layer, dim_m)`` per modality, in any float dtype.
    presence
        ``(items, modality)`` bool.
    dtype
        What the maps compute in.
    """
    return [
        hidden[m] if isinstance(one, nn.Identity) else one(clean(hidden, presence, m, dtype))
        for m, one in enumerate(align)
    ]


def clean(hidden: Sequence[Tensor], presence: Tensor, m: int, dtype: torch.dtype) -> Tensor:
    """Return the hidden states of one modality with zeros where it is absent."""
    return hidden[m].masked_fill(~presence[:, m, None, None], 0.0).to(dtype)
