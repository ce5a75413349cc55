r"""Hidden states with every kept layer centred and brought to one size.

For each kept layer of each modality, with the mean :math:`\mu` over the items
of a run (one number per dimension) and one deviation :math:`\sigma`, the root of
the mean over items and dimensions of the squared distance to it,

.. math:: z = (x - \mu) / \sigma.

The paper's gates (Eq. 5) add the layers of all modalities up as they are. The
hidden states of a backbone grow from layer to layer, and most of each is the
same for all items: without this the size of one layer drowns the others. One
deviation per layer, not one per dimension, keeps the directions in which items
differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.train.features.moments import LayerMoments
from crossan.train.settings.tower import Tower

__all__ = ["Standardiser", "Standardisers", "as_tensors", "from_tensors"]

_ITEMS_AT_ONCE = 256
"""Items whose hidden states are float32 at one time; at the paper's sizes they are 5.5 MB."""


@dataclass(frozen=True, slots=True)
class Standardiser:
    """Mean and deviation of the kept layers of one modality.

    Shapes: ``mean`` ``(layer, dim)``, ``deviation`` ``(layer,)``, both float32.
    A layer in which all items are alike has the deviation 1.
    """

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, moments: LayerMoments) -> Standardiser:
        """Return what brings hidden states of these moments to mean 0 and deviation 1."""
        # A flat layer holds rounding noise at most, which must not be blown up to the size of a
        # signal, and without items there is nothing to divide by.
        is_apart = ~moments.is_flat & (moments.variance > 0)
        deviation = np.sqrt(np.where(is_apart, moments.variance, 1.0)).astype(np.float32)
        # A deviation below the smallest float32 would divide by zero.
        deviation = np.where(deviation > 0, deviation, np.float32(1.0))
        return cls(torch.from_numpy(moments.mean.astype(np.float32)), torch.from_numpy(deviation))

    def apply(self, states: Tensor) -> None:
        """Standardise hidden states in place.

        What is computed in float32 is rounded to the dtype of the states, so
        that rows have the same bits wherever and whenever they are read.

        Parameters
        ----------
        states
            ``(items, layer, dim)`` on the CPU. Absent rows may hold anything.
        """
        limits = torch.finfo(states.dtype)
        deviation = self.deviation.unsqueeze(1)
        for block in states.split(_ITEMS_AT_ONCE):
            standard = block.float().sub_(self.mean).div_(deviation)
            # One item far from millions of others that are alike: beyond float16, not infinite.
            block.copy_(standard.clamp_(limits.min, limits.max))

    def undo(self, moments: LayerMoments) -> LayerMoments:
        """Return the moments of hidden states as stored from those after `apply`."""
        mean, deviation = self.mean.double().numpy(), self.deviation.double().numpy()
        return LayerMoments(
            moments.items,
            moments.mean * deviation[:, None] + mean,
            moments.variance * np.square(deviation),
        )


Standardisers = Mapping[Tower, Standardiser]
"""The standardiser of every modality that a run reads."""


def as_tensors(standardisers: Standardisers) -> dict[str, Tensor]:
    """Return standardisers as named tensors, ``<modality>.mean`` and ``<modality>.deviation``."""
    return {
        f"{modality.value}.{name}": getattr(standardiser, name)
        for modality, standardiser in standardisers.items()
        for name in ("mean", "deviation")
    }


def from_tensors(
    tensors: Mapping[str, Tensor], shapes: Mapping[Tower, tuple[int, int]], source: str
) -> dict[Tower, Standardiser]:
    """Return the standardisers that `as_tensors` was given.

    Parameters
    ----------
    tensors
        Named tensors, which may be anything.
    shapes
        ``(layer, dim)`` of every modality that is read.
    source
        Where the tensors come from, for the error.

    Raises
    ------
    StoreIntegrityError
        They are not those of these modalities, or a number among them is of no use.
    """
    expected: dict[str, tuple[int, ...]] = {}
    for modality, (layers, dim) in shapes.items():
        expected[f"{modality.value}.mean"] = (layers, dim)
        expected[f"{modality.value}.deviation"] = (layers,)
    actual = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if actual != expected:
        raise StoreIntegrityError(
            f"{source}: expected the statistics {_in_words(expected)}, found {_in_words(actual)}"
        )
    for name, tensor in tensors.items():
        is_whole = tensor.dtype == torch.float32 and bool(tensor.isfinite().all())
        if not is_whole or (name.endswith(".deviation") and not bool((tensor > 0).all())):
            raise StoreIntegrityError(
                f"{source}: expected finite float32 numbers in {name}, deviations above 0"
            )
    return {
        modality: Standardiser(
            tensors[f"{modality.value}.mean"], tensors[f"{modality.value}.deviation"]
        )
        for modality in shapes
    }


def _in_words(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items())) or "none"
