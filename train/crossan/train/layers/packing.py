"""Where the real positions of padded sequences stand, to compute nothing at padding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

__all__ = ["Packing", "positions_read"]


@dataclass(frozen=True, slots=True)
class Packing:
    """The real positions of some users as rows, user after user, oldest first.

    Every index is made once, where a batch is prepared. That is best done on the
    CPU, because how many rows there are would make an accelerator wait.
    """

    is_real: Tensor
    """False for padding, ``(users, position)`` bool."""
    places: Tensor
    """Where each row stands in the flattened ``(users, position)``, ``(real,)``, ascending."""
    rows: Tensor
    """Row of each place, ``(users * position,)``; of padding any row, which nobody reads."""
    is_filled: bool = False
    """Whether rows follow that no place leads to, whose own places are those of other rows."""

    @classmethod
    def of(cls, is_real: Tensor) -> Packing:
        """Return the packing of ``(users, position)``."""
        flat = is_real.flatten()
        rows = flat.cumsum(0).sub_(1).clamp_(min=0)
        return cls(is_real, flat.nonzero().squeeze(1), rows)

    def to(self, device: torch.device) -> Packing:
        """Return the packing on a device."""
        is_real, places, rows = (
            self.is_real.to(device),
            self.places.to(device),
            self.rows.to(device),
        )
        return Packing(is_real, places, rows, self.is_filled)

    def padded(self, packed: Tensor) -> Tensor:
        """Return rows ``(real, any)`` at their places, ``(users * position, any)``.

        What stands at padding are copies of other rows, or zeros where there is no row.
        """
        if not len(packed):
            return F.pad(packed, (0, 0, 0, len(self.rows)))
        # A lookup and not an index, whose gradient threads would add up in any order.
        return F.embedding(self.rows, packed)


def positions_read(is_real: Tensor) -> Tensor:
    """Return which position reads which in causal attention, ``(users, position, position)`` bool.

    A padding position reads itself, because a softmax over nothing is NaN. No real
    position reads a padding position.
    """
    length = is_real.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=is_real.device).tril()
    itself = torch.eye(length, dtype=torch.bool, device=is_real.device)
    return (causal & is_real.unsqueeze(1)) | itself
