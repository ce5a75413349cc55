r"""Hidden states in eight bits, with one scale per item and layer.

Every channel is standardised first. With mean :math:`\mu` and deviation
:math:`\sigma` of a channel (one of ``dim`` numbers of one layer) over a sample
of the items,

.. math:: z = (x - \mu) / \sigma, \quad s = \max |z| / 127, \quad q = \mathrm{round}(z / s),
   \qquad x \approx \mu + \sigma s q,

the maximum being over one layer of one item. Without :math:`\mu` and
:math:`\sigma`, a few channels that are large in every item would take the whole
range, and the error would be five times as large.
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
    """That of the hidden states, before packing and after unpacking."""

    @classmethod
    def of(cls, sample: Tensor) -> Int8Channels:
        """Return the channels of a sample, ``(items, layer, dim)``.

        A channel that never changes is not scaled.
        """
        shape = sample.shape[1:]
        mean, deviation = torch.zeros(shape), torch.ones(shape)
        if not len(sample):
            return cls(mean, deviation, sample.dtype)
        # In float64, because the order in which threads add up must not show in the numbers, and
        # layer by layer, because all of them in float64 would be four times the float16 sample.
        for layer in range(shape[0]):
            spread, average = torch.std_mean(sample[:, layer].double(), dim=0, correction=0)
            mean[layer] = average
            deviation[layer] = torch.where(spread > 0, spread, 1.0)
        return cls(mean, deviation, sample.dtype)

    def pack(self, states: Tensor) -> Int8States:
        """Return hidden states rounded to eight bits.

        NaN, which only absent rows hold, becomes 0.
        """
        # float32, whatever the states are, because the mean is.
        standard = states.sub(self.mean).div_(self.deviation).nan_to_num_(0.0)
        scales = standard.abs().amax(dim=2).div_(_LARGEST)
        # An item whose layer equals the mean everywhere has scale 0: its codes are 0 over 1.
        codes = standard.div_(torch.where(scales > 0, scales, 1.0).unsqueeze(2)).round_()
        return Int8States(codes.to(torch.int8), scales, self)

    def room(self, item_count: int, device: torch.device) -> Int8States:
        """Return uninitialised states of some items, for `Int8States.put` to fill."""
        codes = torch.empty((item_count, *self.mean.shape), dtype=torch.int8, device=device)
        scales = torch.empty((item_count, len(self.mean)), device=device)
        return Int8States(codes, scales, self.to(device))

    def to(self, device: torch.device) -> Int8Channels:
        """Return the same channels on a device."""
        return Int8Channels(self.mean.to(device), self.deviation.to(device), self.dtype)


@dataclass(frozen=True, slots=True)
class Int8States:
    """Packed hidden states of some items, used like the tensor they stand for.

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
        """Return rows in the dtype that was packed, ``dim`` being 0 always."""
        if dim != 0:
            raise ValueError(f"expected dimension 0, got {dim}")
        channels, limits = self.channels, torch.finfo(self.channels.dtype)
        scales = self.scales.index_select(0, index).unsqueeze(2)
        states = self.codes.index_select(0, index).float().mul_(scales)
        states.mul_(channels.deviation).add_(channels.mean)
        # The largest number of a narrow dtype may come back a little larger: infinite, that is.
        return states.clamp_(limits.min, limits.max).to(channels.dtype)

    def put(self, start: int, states: Tensor) -> None:
        """Pack hidden states that are on the CPU, as those of the items from ``start`` on."""
        packed = self.channels.to(states.device).pack(states)
        self.codes[start : start + len(states)] = packed.codes
        self.scales[start : start + len(states)] = packed.scales


def relative_errors(states: Tensor, packed: Int8States) -> Tensor:
    """Return the norm of what packing changed over the norm before, ``(items, layer)``.

    It is 0 where the norm before is 0.
    """
    before = states.float()
    after = packed.index_select(0, torch.arange(len(states))).float()
    norms = before.norm(dim=2)
    return torch.where(norms > 0, (after - before).norm(dim=2) / norms, 0.0)
