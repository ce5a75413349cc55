"""The door to backbones that are trained, which another package opens.

Decoding media and running backbones is the business of `crossan.extract`, which
nothing here imports. It announces trainable backbones by entry points in the group
``crossan.trainable_backbones``, one for each modality.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.datasets import Dataset
from crossan.common.stores.model_inputs import InputRecord, InputStore

__all__ = ["BACKBONES_GROUP", "TrainableBackbone", "open_backbone"]

BACKBONES_GROUP = "crossan.trainable_backbones"
"""The name is that of a modality, the target a function like `open_backbone`."""

_REMEDY = "pip install 'crossan[extract]'"


class TrainableBackbone(Protocol):
    """A checkpoint to be trained, with what prepares its inputs."""

    @property
    def modality(self) -> Modality:
        """What it reads."""

    @property
    def dim(self) -> int:
        """Width of its vectors."""

    def take_module(self) -> nn.Module:
        """Return what makes ``(items, dim)`` of some items' arrays, a list of mappings by name.

        Nobody else has the module, whose weights are the pretrained ones.
        """

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names within the module of what ends the attention and the feed-forward net of blocks."""

    @property
    def projections(self) -> tuple[str, ...]:
        """Names within the module of the linear layers of queries and values."""

    def weights(self) -> Mapping[str, Any]:
        """Return what fixes the pretrained weights, as JSON."""

    def inputs(self) -> Mapping[str, Any]:
        """Return what fixes the inputs of an item beside its content, as JSON."""

    def keep_inputs(
        self, dataset: Dataset, cache: Path, item_ids: Sequence[str]
    ) -> tuple[InputStore, Mapping[str, InputRecord]]:
        """Prepare what the store of model inputs in a cache lacks of some items.

        Returns
        -------
        tuple
            The store, and the record of every item's content of today, by its id.
        """


def open_backbone(
    modality: Modality, source: str | None, max_length: int | None
) -> TrainableBackbone:
    """Load a backbone with its pretrained weights, on the CPU.

    Parameters
    ----------
    modality
        What it reads.
    source
        Preset name, hub id or folder; None for the paper's.
    max_length
        Most tokens of a title, None for as many as it reads.

    Raises
    ------
    UsageError
        No package that is installed brings backbones, or one lacks a library.
    CrossanError
        The checkpoint cannot be loaded.
    """
    for point in entry_points(group=BACKBONES_GROUP, name=modality.value):
        try:
            opens = point.load()
        except ModuleNotFoundError as error:
            raise UsageError(
                f"model.kind=fine-tuned: expected the libraries of backbones, {error.name} is not"
                " installed",
                remedy=_REMEDY,
            ) from error
        backbone: TrainableBackbone = opens(modality, source, max_length=max_length)
        return backbone
    raise UsageError(
        f"model.kind=fine-tuned: expected a package that brings backbones of {modality.value}"
        f" ({BACKBONES_GROUP}), found none",
        remedy=_REMEDY,
    )
