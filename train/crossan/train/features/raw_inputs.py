"""What items are read by where backbones are trained, token ids or pixels from their stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crossan.cache_schema.canonical import digest_of
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.stores.model_inputs import InputRecord, InputStore
from crossan.train.features.backbone_door import TrainableBackbone
from crossan.train.features.interface import Fetched
from crossan.train.features.rechecking import Rechecking

__all__ = ["RawInputs", "RawRows", "RawSource", "raw_inputs"]


@dataclass(frozen=True, slots=True)
class RawSource:
    """One modality's backbone and the model inputs of items."""

    backbone: TrainableBackbone
    store: InputStore
    records: Mapping[str, InputRecord]
    """Of every item, by its id."""

    def has(self, item_id: str) -> bool:
        """Whether an item has the modality."""
        record = self.records.get(item_id)
        return record is not None and record.status is ItemStatus.OK

    def lock_entry(self, item_ids: Sequence[str]) -> dict[str, Any]:
        """Return what a run records of the backbone and of the contents of its items."""
        contents = [
            (item_id, record.digest, record.status.value)
            for item_id, record in ((each, self.records.get(each)) for each in item_ids)
            if record is not None
        ]
        return {
            "backbone": dict(self.backbone.weights()),
            "inputs": digest_of(dict(self.backbone.inputs())),
            "contents": digest_of(contents),
        }


@dataclass(frozen=True, slots=True)
class RawRows:
    """The model inputs of some items of one modality, read when they are needed."""

    store: InputStore
    records: Sequence[InputRecord | None]
    """Of the whole catalogue."""
    rows: npt.NDArray[np.int64]

    def read(self, positions: Sequence[int]) -> list[Mapping[str, npt.NDArray[Any]]]:
        """Return the arrays of items by name, each at its position among the rows.

        Raises
        ------
        StoreIntegrityError
            The bytes of an item are not those that were written.
        """
        records = [self.records[self.rows[position]] for position in positions]
        return [self.store.read(record) for record in records if record is not None]


@dataclass(frozen=True, slots=True)
class RawInputs:
    """The inputs of the catalogue for backbones that are trained.

    Attributes
    ----------
    modalities
        Those in use, in the order of `Modality`.
    sources
        One per modality.
    presence
        ``(items, modality)`` bool, on the computing device.
    records
        Per modality the record of each catalogue row, None where it lacks the modality.
    """

    modalities: tuple[Modality, ...]
    sources: tuple[RawSource, ...]
    presence: Tensor
    records: tuple[Sequence[InputRecord | None], ...]

    def fetch(self, rows: Tensor) -> Fetched:
        """Begin to gather catalogue rows, which reads nothing yet."""
        return Fetched(rows, partial(self.gather, rows))

    def gather(self, rows: Tensor) -> tuple[list[RawRows], Tensor]:
        """Return what reads the inputs of catalogue rows, and their presence."""
        chosen = rows.cpu().numpy()
        parts = [
            RawRows(source.store, records, chosen)
            for source, records in zip(self.sources, self.records, strict=True)
        ]
        return parts, self.presence[rows.to(self.presence.device)]

    def recheck(self) -> Rechecking:
        """Return a comparison of nothing, as every item is compared whenever it is read."""
        return Rechecking(None)


def raw_inputs(
    sources: Mapping[Modality, RawSource], item_ids: Sequence[str], device: torch.device
) -> RawInputs:
    """Return the inputs of a catalogue.

    Parameters
    ----------
    sources
        One per modality.
    item_ids
        The catalogue, ``(items,)``.
    device
        Where the model computes.
    """
    modalities = tuple(modality for modality in Modality if modality in sources)
    chosen = tuple(sources[modality] for modality in modalities)
    records = tuple(
        [source.records[item_id] if source.has(item_id) else None for item_id in item_ids]
        for source in chosen
    )
    presence = torch.tensor([[record is not None for record in of_one] for of_one in records]).T
    return RawInputs(modalities, chosen, presence.contiguous().to(device), records)
