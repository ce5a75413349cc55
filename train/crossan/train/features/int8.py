r"""Hidden states in eight bits: one scale per item and layer, after every channel has been standardised.

With mean :math:`\mu` and deviation :math:`\sigma` of a channel (one of ``dim``
numbers of one layer) over a sample of the items,

.. math:: z = (x - \mu) / \sigma, \quad s = \max |z| / 127, \quad q = \mathrm{round}(z / s),
   \qquad x \approx \mu + \sigma s q,

the maximum being over one item's layer. Without :math:`\mu` and
:math:`\sigma` a few channels that are large in every item would take the
whole range: the error would be five times as large.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Int8Channels", "Int8States", "relative_errors"]

_LARGEST = 127


@dataclass(frozen=True, slots=True)
class Int8Channels:
    """Mean and deviation of every channel of one modality.

    Shapes: ``mean`` and ``deviation`` ``(layer, dim)`` float32.
    """

    mean: Tensor
    deviation: Tensor
    dtype: torch.dtype
    """Of the hidden states, in and out."""

    @classmethod
    def of(cls, sample: Tensor) -> Int8Channels:
        """Return those of a sample ``(items, layer, dim)``; a channel that never changes is not scaled.

        One layer after another, in float64: the numbers must not depend on how
        threads happen to add up.
        """
        shape = sample.shape[1:]
        mean, deviation = torch.zeros(shape), torch.ones(shape)
        for layer in range(shape[0]) if len(sample) else ():
            found, average = torch.std_mean(sample[:, layer].double(), dim=0, correction=0)
            mean[layer] = average
            deviation[layer] = torch.where(found > 0, found, 1.0)
        return cls(mean, deviation, sample.dtype)

    def pack(self, states: Tensor) -> Int8States:
        """Return the nearest eight bits; NaN, which only absent rows hold, becomes 0."""
        standard = (
            states.sub(self.mean).div_(self.deviation).nan_to_num_(0.0)
        )  # float32, whatever the states are
        scales = standard.abs().amax(dim=2).div_(_LARGEST)
        codes = standard.div_(torch.where(scales > 0, scales, 1.0).unsqueeze(2)).round_()
        return Int8States(codes.to(torch.int8), scales, self)

    def room(self, item_count: int, device: torch.device) -> Int8States:
        """Return room for some items, to be filled by `Int8States.put`."""
        codes = torch.empty((item_count, *self.mean.shape), dtype=torch.int8, device=device)
        scales = torch.empty((item_count, len(self.mean)), device=device)
        return Int8States(codes, scales, self.to(device))

    def to(self, device: torch.device) -> Int8Channels:
        """Return them on a device."""
        return Int8Channels(self.mean.to(device), self.deviation.to(device), self.dtype)


@dataclass(frozen=True, slots=True)
class Int8States:
    """Hidden states of some items, packed; used like the tensor they stand for.

    Shapes: ``codes`` ``(items, layer, dim)`` int8; ``scales`` ``(items, layer)`` float32.
    """

    codes: Tensor
    scales: Tensor
    channels: Int8Channels

    @property
    def shape(self) -> torch.Size:
        """``(items, layer, dim)``."""
        return self.codes.shape

    def index_select(self, dim: int, index: Tensor, /) -> Tensor:
        """Return rows in the dtype that was packed; ``dim`` must be 0."""
        if dim != 0:
            raise ValueError(f"expected dimension 0, got {dim}")
        channels, limits = self.channels, torch.finfo(self.channels.dtype)
        states = (
            self.codes.index_select(0, index)
            .float()
            .mul_(self.scales.index_select(0, index).unsqueeze(2))
        )
        states.mul_(channels.deviation).add_(channels.mean)
        return states.clamp_(limits.min, limits.max).to(
            channels.dtype
        )  # the largest may be rounded past the limit

    def put(self, start: int, states: Tensor) -> None:
        """Pack the hidden states of the items from ``start`` on; they lie on the CPU."""
        packed = self.channels.to(states.device).pack(states)
        self.codes[start : start + len(states)] = packed.codes
        self.scales[start : start + len(states)] = packed.scales


def relative_errors(states: Tensor, packed: Int8States) -> Tensor:
    """Return the norm of what packing changed over the norm of what it was, ``(items, layer)``; 0 where both are 0."""
    before = states.float()
    after = packed.index_select(0, torch.arange(len(states))).float()
    norms = before.norm(dim=2)
    return torch.where(norms > 0, (after - before).norm(dim=2) / norms, 0.0)
