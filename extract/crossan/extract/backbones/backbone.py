"""One loaded backbone, from a decoded medium to its pooled hidden states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from crossan.cache_schema.identity import StoreIdentity
from crossan.extract.backbones.batches import (
    Batch,
    collate,
    model_arguments,
    to_model_inputs,
    within_memory,
)
from crossan.extract.backbones.capture import blocks_of, pool_tokens, pooled_states, width_of
from crossan.extract.backbones.carrier import Carrier, carrier_of
from crossan.extract.backbones.description import Description
from crossan.extract.backbones.families import Family
from crossan.extract.backbones.inputs import Processing
from crossan.extract.backbones.launched import Launched
from crossan.extract.backbones.library import transformers
from crossan.extract.backbones.loading import ATTENTION, DTYPES, compile_blocks
from crossan.extract.backbones.preparing import ModelInputs, Preparer
from crossan.extract.backbones.presets import find_preset
from crossan.extract.backbones.snapshot import Snapshot

__all__ = ["Backbone"]


class Backbone:
    """A frozen checkpoint with its processor, ready to encode.

    Made by `crossan.extract.backbones.load_backbone`.

    Attributes
    ----------
    layers
        The kept layers, lowest first.
    dim
        Width of a hidden state.
    sampling_rate
        Of sounds, in Hz; None for the other modalities.
    frame_count
        Frames of a video; None for the other modalities.
    blocks
        The Transformer blocks of ``model``, first to last.
    carrier
        Copies batches to the device and states from it. Another one changes no number.
    """

    def __init__(
        self, family: Family, snapshot: Snapshot, model: nn.Module, processing: Processing, *,
        layers: tuple[int, ...], pooling: str, dtype: str,
    ) -> None:  # fmt: skip
        self.modality, self.family = family.modality, family.model_type
        self.pooling, self.layers = pooling, layers
        self.dim = width_of(model, family)
        self.sampling_rate, self.frame_count = processing.sampling_rate, processing.frame_count
        self.model, self.blocks = model, blocks_of(model, family)
        self.device = next(chain(model.parameters(), model.buffers())).device
        self.carrier: Carrier = carrier_of(self.device)
        self._family, self._snapshot = family, snapshot
        self._processing, self._dtype = processing, dtype
        # Sounds are finished in float64, which MPS lacks.
        self._finish_device = torch.device("cpu") if self.device.type == "mps" else self.device
        finish = processing.finish
        self._finish = None if finish is None else finish.to(self._finish_device)
        self._is_compiled = False
        self.name = self.description.name(snapshot)

    def compile(self) -> None:
        """Compile the blocks up to the last kept layer, as `compile_blocks` does."""
        # Later blocks never run: the forward ends with the last kept layer.
        compile_blocks(self.blocks[: self.layers[-1]])
        self._is_compiled = True

    @property
    def description(self) -> Description:
        """What its identity follows from, beside the checkpoint's files."""
        return Description(
            modality=self.modality,
            family=self.family,
            family_revision=self._processing.family_revision or self._family.revision,
            dim=self.dim,
            inputs=self._processing.identity(),
            capture={
                "layers": list(self.layers),
                "pooling": self.pooling,
                "final_norm": self._family.final_norm,
                "compute_dtype": self._dtype,
                "attention": ATTENTION if self._family.load_model is None else "the model's own",
            },
            sampling_rate=self.sampling_rate,
            frame_count=self.frame_count,
        )

    def identity(self, stored_dtype: str, codec: str, *, is_clipped: bool = False) -> StoreIdentity:
        """Return everything that fixes a store's numbers.

        No path and no library version is part of it.

        Parameters
        ----------
        stored_dtype, codec
            As for ``--stored-dtype`` and ``--codec``.
        is_clipped
            Whether clips go through the folder of ``--clips``, which changes
            their pixels and samples.
        """
        return self.description.identity(self._snapshot, stored_dtype, codec, is_clipped=is_clipped)

    def provenance(self) -> dict[str, Any]:
        """Return what is recorded of a job but does not fix the numbers."""
        preset = find_preset(self._snapshot.hub_id or "")
        return {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "device": self.device.type,
            "threads": torch.get_num_threads(),
            "is_compiled": self._is_compiled,
            "backbone_licence": preset.licence if preset else "unknown: see its model card",
        }

    def text_length(self, title: str) -> int:
        """Return the number of tokens of a title.

        Special tokens count, and a long title is cut where the backbone stops reading.
        """
        return len(self.prepare(title)["input_ids"])

    @property
    def family_of_checkpoint(self) -> Family:
        """What all checkpoints of its family share."""
        return self._family

    @property
    def processing(self) -> Processing:
        """How a medium becomes model inputs."""
        return self._processing

    def preparer(self) -> Preparer:
        """Return the worker's half of `prepare`, which can be pickled.

        Those of the built-in families run without torch, unless their processor has
        to be loaded (see `ProcessorPreparer`).
        """
        return self._processing.preparer

    def prepare(self, medium: Any) -> ModelInputs:  # noqa: ANN401 - by modality
        """Return one item's arrays for `encode`, which depend on no other item.

        Parameters
        ----------
        medium
            A title; a PIL picture in RGB; mono float32 ``(samples,)`` at
            ``sampling_rate``; uint8 ``(frame_count, height, width, 3)``.

        Raises
        ------
        DataError
            The backbone cannot use it.
        """
        return self._processing.preparer(medium)

    def model_inputs(
        self, batch: Sequence[Mapping[str, npt.NDArray[Any]]]
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return what the model takes for a batch, and the mask of its real positions.

        Both lie on the model's device. A mask of None says that all positions are
        real. Sequences such as titles are padded with zeros to the longest of the
        batch.
        """
        return to_model_inputs(
            batch, self._finish, self._finish_device, self.device, DTYPES[self._dtype]
        )

    def begin(self, batch: Sequence[Mapping[str, npt.NDArray[Any]]]) -> Launched:
        """Launch the forward of a batch.

        On CUDA the forward and both copies run while the caller goes on, and the copy to the
        device runs beside the forward of the batch before; on the CPU the result is complete
        when this returns. Only pooled states leave the device.

        Returns
        -------
        Launched
            Waits for the pooled hidden states, float32 ``(items, layer, dim)``.

        Raises
        ------
        MemoryError
            Too many items at once. Waiting for the states can raise it as well,
            for a device reports such errors late. The device's cache is emptied.
        """
        what = f"a batch of {len(batch)} items of {self.modality.value}"
        launched = within_memory(partial(self._launch, batch), self.device, what)
        return replace(launched, fetch=partial(within_memory, launched.fetch, self.device, what))

    def encode(self, batch: Sequence[Mapping[str, npt.NDArray[Any]]]) -> npt.NDArray[np.float32]:
        """Return the pooled hidden states of a batch, float32 ``(items, layer, dim)``.

        The same as `begin`, with the wait.
        """
        return self.begin(batch)()

    @torch.inference_mode()
    def _launch(self, batch: Sequence[Mapping[str, npt.NDArray[Any]]]) -> Launched:
        # A list that the forward empties: what was copied is let go of once the model's arguments
        # are made of it, before the blocks take their memory.
        copied = [self.carrier.ahead(partial(collate, batch, self._finish_device))]
        return self.carrier.forward(partial(self._pooled, copied))

    def _pooled(self, copied: list[Batch]) -> Tensor:
        """Take the batch out of the list and return its states, ``(items, layer, dim)``."""
        dtype = DTYPES[self._dtype]
        inputs, is_real = model_arguments(copied.pop(), self._finish, self.device, dtype)
        pool = partial(pool_tokens, family=self._family, pooling=self.pooling, is_real=is_real)
        return pooled_states(self.model, self.blocks, self.layers, pool, inputs)
