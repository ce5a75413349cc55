"""One loaded backbone: media to model inputs, model inputs to pooled hidden states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import Modality
from crossan.common.devices import pick_device
from crossan.extract.backbones.batches import collate, fetch_later, within_memory
from crossan.extract.backbones.capture import blocks_of, pool_tokens, pooled_states, width_of
from crossan.extract.backbones.families import Family
from crossan.extract.backbones.inputs import Processing
from crossan.extract.backbones.layers import parse_layers
from crossan.extract.backbones.library import transformers
from crossan.extract.backbones.loading import (
    ATTENTION,
    DTYPES,
    compile_blocks,
    load_model,
)
from crossan.extract.backbones.plugins import family_of
from crossan.extract.backbones.preparing import ModelInputs, Preparer
from crossan.extract.backbones.presets import default_preset, find_preset, resolve
from crossan.extract.backbones.processing import load_processing
from crossan.extract.backbones.snapshot import Snapshot, find_snapshot
from crossan.extract.media.recipe import media_recipe

__all__ = ["Backbone", "load_backbone"]


class Backbone:
    """A frozen checkpoint with its processor, ready to encode.

    Use `load_backbone`; ``layers`` are the kept layers, ``dim`` the width of a
    hidden state, ``sampling_rate`` in Hz for audio, ``frame_count`` for video,
    ``blocks`` the Transformer blocks of ``model``.
    """

    def __init__(
        self, family: Family, snapshot: Snapshot, model: nn.Module, processing: Processing, *,
        layers: tuple[int, ...], pooling: str, dtype: str,
    ) -> None:  # fmt: skip
        self.modality, self.family, self.pooling, self.layers = (
            family.modality,
            family.model_type,
            pooling,
            layers,
        )
        self.name = (snapshot.hub_id or f"local-{family.model_type}").rpartition("/")[2]
        self.dim = width_of(model, family)
        self.sampling_rate, self.frame_count = processing.sampling_rate, processing.frame_count
        self.model, self.blocks = model, blocks_of(model, family)
        self.device = next(chain(model.parameters(), model.buffers())).device
        self._family, self._snapshot, self._processing, self._dtype = (
            family,
            snapshot,
            processing,
            dtype,
        )
        # float64, in which sounds are finished, is not to be had on MPS
        self._finish_device = torch.device("cpu") if self.device.type == "mps" else self.device
        self._finish = (
            None if processing.finish is None else processing.finish.to(self._finish_device)
        )
        self._is_compiled = False

    def compile(self) -> None:
        """Compile the blocks up to the last kept layer; see `compile_blocks`."""
        compile_blocks(self.blocks[: self.layers[-1]])
        self._is_compiled = True

    def identity(self, stored_dtype: str, codec: str, *, is_clipped: bool = False) -> StoreIdentity:
        """Return everything that fixes a store's numbers; no path and no library version is part of it.

        Parameters
        ----------
        is_clipped
            Whether clips go through the folder of ``--clips``, which changes their pixels and samples.
        """
        snapshot = self._snapshot
        return StoreIdentity(
            modality=self.modality,
            backbone={
                "id": snapshot.hub_id or f"local/{self.name}",
                "family": self.family,
                "family_revision": self._family.revision,
                "revision": snapshot.commit,
                "weights_sha256": snapshot.weight_digests(),
                "config_sha256": snapshot.config_digest,
            },
            inputs=self._processing.identity()
            | media_recipe(
                self.modality,
                sampling_rate=self.sampling_rate,
                frame_count=self.frame_count,
                is_clipped=is_clipped,
            ),
            capture={
                "layers": list(self.layers),
                "pooling": self.pooling,
                "final_norm": self._family.final_norm,
                "compute_dtype": self._dtype,
                "attention": ATTENTION if self._family.load_model is None else "the model's own",
            },
            stored_dtype=stored_dtype,
            codec=codec,
            dim=self.dim,
        )

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
        """Return the number of tokens of a title, special ones included, cut at the longest the backbone reads."""
        return len(self.prepare(title)["input_ids"])

    def preparer(self) -> Preparer:
        """Return the worker's half of `prepare`: picklable, and without torch for all built-in families."""
        return self._processing.preparer

    def prepare(self, medium: Any) -> ModelInputs:  # noqa: ANN401 - text, picture or array by modality
        """Return one item's arrays for `encode`; they do not depend on any other item.

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
        """Return what the model takes for a batch, on its device, and the mask of real positions (None: all are).

        Sequences such as titles are padded with zeros to the longest of the
        batch; the model is given the mask only where there is padding.
        """
        collated = collate(batch, self._finish_device)
        tensors = collated.tensors if self._finish is None else self._finish(collated.tensors)
        dtype = DTYPES[self._dtype]
        inputs = {
            name: tensor.to(self.device, dtype if tensor.is_floating_point() else None)
            for name, tensor in tensors.items()
        }
        is_real = inputs.get("attention_mask")
        if not collated.is_padded:
            inputs.pop("attention_mask", None)
        return inputs, is_real

    def begin(
        self, batch: Sequence[Mapping[str, npt.NDArray[Any]]]
    ) -> Callable[[], npt.NDArray[np.float32]]:
        """Launch the forward of a batch and return a function that waits for its pooled hidden states.

        On CUDA the forward and both copies run while the caller goes on; on the
        CPU the result is there when this returns. Only pooled states leave the
        device: float32 ``(items, layer, dim)``.

        Raises
        ------
        MemoryError
            Too many items at once, here or from the function returned; the device's cache is emptied.
        """
        what = f"a batch of {len(batch)} items of {self.modality.value}"
        fetch = within_memory(partial(self._launch, batch), self.device, what)
        return partial(within_memory, fetch, self.device, what)

    def encode(self, batch: Sequence[Mapping[str, npt.NDArray[Any]]]) -> npt.NDArray[np.float32]:
        """Return the pooled hidden states of the kept layers, ``(items, layer, dim)`` float32: `begin`, then wait."""
        return self.begin(batch)()

    @torch.inference_mode()
    def _launch(
        self, batch: Sequence[Mapping[str, npt.NDArray[Any]]]
    ) -> Callable[[], npt.NDArray[np.float32]]:
        inputs, is_real = self.model_inputs(batch)
        pool = partial(pool_tokens, family=self._family, pooling=self.pooling, is_real=is_real)
        return fetch_later(pooled_states(self.model, self.blocks, self.layers, pool, inputs))


def load_backbone(
    modality: Modality,
    source: str | None = None,
    *,
    revision: str | None = None,
    layers: str = "half",
    pooling: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    is_compiled: bool = False,
) -> Backbone:
    """Load a checkpoint from a folder or the local hub cache; never remote code, never pickled weights.

    Parameters
    ----------
    modality
        What it must read.
    source
        Preset name, hub id or folder; None for the paper's backbone of the modality.
    revision
        Branch, tag or commit of a hub id; None is a preset's pinned commit, or the main branch.
    layers
        ``half``, ``all`` or numbers such as ``0,2,4``.
    pooling
        How token positions become one vector; None for the family's default.
    device
        ``auto`` takes an accelerator where there is one.
    dtype
        Type of the computation: float32, bfloat16 or float16.
    is_compiled
        Whether torch.compile works on the blocks: the first batches take long, values differ by rounding.

    Raises
    ------
    UsageError
        The checkpoint is not there, does not fit the modality, or an option does not fit the checkpoint.
    """
    named = source or default_preset(modality).name
    snapshot = find_snapshot(*resolve(named, revision))
    family = family_of(snapshot.config, modality, named)
    chosen = pooling or family.default_pooling
    if chosen not in family.poolings:
        raise UsageError(
            f"--pooling {chosen}: expected one of {', '.join(family.poolings)} for {family.model_type}"
        )
    if dtype not in DTYPES:
        raise UsageError(f"--dtype {dtype}: expected one of {', '.join(DTYPES)}")
    place = pick_device(device)
    model = load_model(family, snapshot, named, dtype).to(place)
    backbone = Backbone(
        family,
        snapshot,
        model,
        load_processing(family, snapshot, model),
        layers=parse_layers(layers, len(blocks_of(model, family))),
        pooling=chosen,
        dtype=dtype,
    )
    if is_compiled:
        backbone.compile()
    return backbone
