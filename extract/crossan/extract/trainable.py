"""Backbones with their weights free, for a training that has them inside its step.

`crossan.train` finds `open_trainable` by an entry point in the group
``crossan.trainable_backbones``, as it imports nothing of this package.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.datasets import Dataset
from crossan.common.stores.model_inputs import InputRecord, InputStore, inputs_folder
from crossan.extract.backbones.backbone import Backbone
from crossan.extract.backbones.batches import to_model_inputs
from crossan.extract.backbones.capture import blocks_of, pool_tokens
from crossan.extract.backbones.families import TuningSites
from crossan.extract.backbones.opening import load_backbone
from crossan.extract.job.inputs import keep_inputs

__all__ = ["TrainableBackbone", "TunedModule", "open_trainable"]

_SITES = (
    # BERT: the block comes after the dropout, as the dense and the dropout are one output.
    TuningSites(
        ("attention.output.dropout", "output.dropout"),
        ("attention.self.query", "attention.self.value"),
    ),
    # VideoMAE, and ViT before transformers 5.
    TuningSites(
        ("attention.output.dropout", "output.dropout"),
        ("attention.attention.query", "attention.attention.value"),
    ),
    # ViT and AST, whose dropout comes after both and is zero in published checkpoints.
    TuningSites(("attention.o_proj", "mlp.fc2"), ("attention.q_proj", "attention.v_proj")),
)
"""Where transformers has the modules of a block, by family and release."""


class TunedModule(nn.Module):
    """A backbone from the arrays of some items to a pooled vector of each.

    Parameters
    ----------
    model
        With its weights.
    finish
        Batched tensors to the model's arguments, None where they are these already.
    pool
        Last hidden state ``(items, position, dim)`` and the mask of real positions, or None, to
        ``(items, dim)``.
    """

    def __init__(
        self,
        model: nn.Module,
        finish: nn.Module | None,
        pool: Callable[[Tensor, Tensor | None], Tensor],
    ) -> None:
        super().__init__()
        self.model, self.finish, self._pool = model, finish, pool

    def forward(self, batch: Sequence[Mapping[str, npt.NDArray[Any]]]) -> Tensor:
        """Return the pooled last hidden state, after the model's final norm, ``(items, dim)``."""
        parameter = next(self.model.parameters())
        device, dtype = parameter.device, parameter.dtype
        # Sounds are finished in float64, which MPS lacks.
        finish_device = torch.device("cpu") if device.type == "mps" else device
        inputs, is_real = to_model_inputs(batch, self.finish, finish_device, device, dtype)
        output = self.model(**inputs)
        if not isinstance(output, Tensor):
            output = output[0]
        return self._pool(output, is_real)


class TrainableBackbone:
    """A checkpoint to be trained, with what prepares its inputs.

    Parameters
    ----------
    load
        Loads the checkpoint, on the CPU and in float32.

    Attributes
    ----------
    modality
        What it reads.
    dim
        Width of its vectors.
    """

    def __init__(self, load: Callable[[], Backbone]) -> None:
        self._load = load
        self._backbone = load()
        self._family = self._backbone.family_of_checkpoint
        self.modality, self.dim = self._backbone.modality, self._backbone.dim
        self._module: TunedModule | None = self._wrapped(self._backbone)
        # Found before anybody changes the module.
        self._outputs = self._within_blocks(self._module, "outputs")
        self._projections = self._within_blocks(self._module, "projections")

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the modules that end the attention and the feed-forward net of each block."""
        return self._some(self._outputs, "outputs")

    @property
    def projections(self) -> tuple[str, ...]:
        """Names of the linear layers of queries and values of each block."""
        return self._some(self._projections, "projections")

    def take_module(self) -> TunedModule:
        """Return the module with its pretrained weights, which nobody else has."""
        module, self._module = self._module, None
        return self._wrapped(self._load()) if module is None else module

    def weights(self) -> dict[str, Any]:
        """Return what fixes the pretrained weights and their pooling, as JSON."""
        identity = self._backbone.identity("float32", "raw")
        return {**identity.backbone, "pooling": self._backbone.pooling}

    def inputs(self) -> dict[str, Any]:
        """Return what fixes the model inputs of an item beside its content, as JSON."""
        identity = self._backbone.identity("float32", "raw")
        return {
            "modality": self.modality.value,
            "family": identity.backbone["family"],
            "family_revision": identity.backbone["family_revision"],
            **identity.inputs,
        }

    def keep_inputs(
        self, dataset: Dataset, cache: Path, item_ids: Sequence[str]
    ) -> tuple[InputStore, dict[str, InputRecord]]:
        """Return the store of model inputs, and the record of every item's content of today.

        What it lacks is decoded and prepared as for a store of hidden states.
        """
        identity = self.inputs()
        folder = inputs_folder(cache, dataset.name, self.modality, identity)
        store = InputStore(folder, identity)
        return store, keep_inputs(self._backbone, dataset, cache, store, item_ids)

    def _wrapped(self, backbone: Backbone) -> TunedModule:
        family, pooling = self._family, backbone.pooling

        def pool(hidden: Tensor, is_real: Tensor | None) -> Tensor:
            return pool_tokens(hidden, family, pooling, is_real)

        finish = copy.deepcopy(backbone.processing.finish)
        return TunedModule(backbone.model, finish, pool)

    def _within_blocks(self, module: TunedModule, part: str) -> tuple[str, ...]:
        """Return the names of modules in every block, none where they are not known."""
        blocks = blocks_of(module.model, self._family)
        names = {id(each): name for name, each in module.named_modules()}
        own, paths_within = self._family.tuning_sites, dict(blocks[0].named_modules())
        for sites in _SITES if own is None else (own,):
            paths: tuple[str, str] = getattr(sites, part)
            if all(path in paths_within for path in paths):
                return tuple(f"{names[id(block)]}.{path}" for block in blocks for path in paths)
        return ()

    def _some(self, names: tuple[str, ...], part: str) -> tuple[str, ...]:
        if not names:
            raise UsageError(
                f"family {self._family.model_type}: expected the {part} of its blocks where"
                " transformers has them, found none",
                remedy="Set tuning_sites in its Family, or train all of it: --set model.tuning=full",
            )
        return names


def open_trainable(
    modality: Modality, source: str | None = None, *, max_length: int | None = None
) -> TrainableBackbone:
    """Load a checkpoint to be trained, on the CPU and in float32.

    Parameters
    ----------
    modality, source, max_length
        As `load_backbone` takes them.

    Raises
    ------
    CrossanError
        As `load_backbone` does.
    """
    # What is read of its layers does not matter, as nothing but the last hidden state is.
    load = partial(load_backbone, modality, source, max_length=max_length, device="cpu")
    return TrainableBackbone(load)
