"""Inputs of items that have shapes and no numbers, to see what a step on them would allocate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from crossan.train.features.interface import Fetched, Gathered, ItemInputs
from crossan.train.features.raw_inputs import RawInputs
from crossan.train.features.rechecking import Rechecking
from crossan.train.features.streamed import StreamedFeatures
from crossan.train.features.table import FeatureTable
from crossan.train.settings.tower import Tower

__all__ = ["bytes_on", "on_paper"]

StandIn = Callable[[Tensor], Tensor]
"""From a tensor to one of the same shape, dtype and device that holds no numbers."""


def on_paper(features: ItemInputs, stand_in: StandIn) -> ItemInputs:
    """Return inputs that allocate on the computing device what the given ones do.

    Whatever they gather has no numbers. Presence keeps its own.

    Raises
    ------
    TypeError
        They are of another class than the residences and the raw inputs.
    """
    if isinstance(features, FeatureTable):
        return replace(features, hidden=_stand_ins(features.hidden, stand_in))
    if isinstance(features, StreamedFeatures):
        return _Streamed(features)
    if isinstance(features, RawInputs):
        return features  # of which a step reads few, and makes tensors of them itself
    raise TypeError(f"expected inputs of a known class, got {type(features).__name__}")


def bytes_on(features: ItemInputs) -> int:
    """Return the memory of the computing device that inputs keep for the whole run."""
    kept: list[Any] = [features.presence]
    if isinstance(features, FeatureTable):
        kept.append(features.hidden)
    if isinstance(features, StreamedFeatures):
        kept.append(features.kept_on_device())
    return sum(tensor.nbytes for tensor in _tensors_of(kept))


class _Streamed:
    """What `StreamedFeatures` allocates on the device for the rows of a gather.

    Parameters
    ----------
    features
        The inputs that it stands for.
    """

    def __init__(self, features: StreamedFeatures) -> None:
        self._features = features
        self.presence = features.presence

    @property
    def modalities(self) -> tuple[Tower, ...]:
        """The modalities in use, in the order of `Modality`."""
        return self._features.modalities

    def fetch(self, rows: Tensor) -> Fetched:
        """Begin to gather catalogue rows, which reads nothing."""
        return Fetched(rows, partial(self.gather, rows))

    def gather(self, rows: Tensor) -> Gathered:
        """Return hidden states without numbers, and presence of catalogue rows."""
        device, held_count = self.presence.device, self._features.count_on_device(rows)
        shapes = [self._features.row_of(m) for m in range(len(self.modalities))]
        hidden = [
            torch.empty((len(rows) - held_count, *shape), dtype=dtype, device=device)
            for shape, dtype in shapes
        ]
        if device.type != "cpu" and self._features.holds_some_on_device:
            hidden = [
                # What was uploaded and what the device held, put between each other.
                uploaded.new_empty((len(rows), *uploaded.shape[1:])).index_copy_(
                    0,
                    torch.arange(held_count, device=device),
                    uploaded.new_empty((held_count, *uploaded.shape[1:])),
                )
                for uploaded in hidden
            ]
        return hidden, self.presence[rows.to(device)]

    def recheck(self) -> Rechecking:
        """Return a comparison of nothing."""
        return Rechecking(None)


def _stand_ins(value: Any, stand_in: StandIn) -> Any:  # noqa: ANN401 - whatever holds tensors
    """Return the same with a stand-in for every tensor within."""
    if isinstance(value, Tensor):
        return stand_in(value)
    if isinstance(value, tuple):
        return tuple(_stand_ins(each, stand_in) for each in value)
    if is_dataclass(value) and not isinstance(value, type):
        changes = {
            field.name: _stand_ins(getattr(value, field.name), stand_in) for field in fields(value)
        }
        return replace(value, **changes)
    return value


def _tensors_of(value: Any) -> list[Tensor]:  # noqa: ANN401 - whatever holds tensors
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, tuple | list):
        return [tensor for each in value for tensor in _tensors_of(each)]
    if is_dataclass(value) and not isinstance(value, type):
        return _tensors_of([getattr(value, field.name) for field in fields(value)])
    return []
