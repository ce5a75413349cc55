"""One loaded backbone: media to model inputs, model inputs to pooled hidden states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from crossan.cache_schema.errors import ResourceError, UsageError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import Modality
from crossan.extract.backbones.capture import blocks_of, pool_tokens, pooled_states
from crossan.extract.backbones.families import Family, family_of
from crossan.extract.backbones.layers import parse_layers
from crossan.extract.backbones.library import transformers
from crossan.extract.backbones.presets import default_preset, find_preset, resolve
from crossan.extract.backbones.processing import Processing, load_processing
from crossan.extract.backbones.snapshot import Snapshot, find_snapshot
from crossan.extract.media.recipe import media_recipe

__all__ = ["Backbone", "load_backbone"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_ATTENTION = "sdpa"

ModelInputs = dict[str, npt.NDArray[Any]]


class Backbone:
    """A frozen checkpoint with its processor, ready to encode.

    Use `load_backbone`; ``layers`` are the kept layers, ``dim`` the width of a
    hidden state, ``sampling_rate`` in Hz for audio, ``frame_count`` for video.
    """

    def __init__(
        self, family: Family, snapshot: Snapshot, model: Any, processing: Processing, *,  # noqa: ANN401
        layers: tuple[int, ...], pooling: str, dtype: str,
    ) -> None:  # fmt: skip
        self.modality, self.family, self.pooling, self.layers = family.modality, family.model_type, pooling, layers
        self.name = (snapshot.hub_id or f"local-{family.model_type}").rpartition("/")[2]
        self.dim: int = model.config.hidden_size
        self.sampling_rate, self.frame_count = processing.sampling_rate, processing.frame_count
        self._family, self._snapshot, self._model, self._processing, self._dtype = (
            family,
            snapshot,
            model,
            processing,
            dtype,
        )

    def identity(self, stored_dtype: str, codec: str) -> StoreIdentity:
        """Return everything that fixes a store's numbers; no path and no library version is part of it."""
        snapshot = self._snapshot
        return StoreIdentity(
            modality=self.modality,
            backbone={
                "id": snapshot.hub_id or f"local/{self.name}",
                "family": self.family,
                "revision": snapshot.commit,
                "weights_sha256": snapshot.weight_digests(),
                "config_sha256": snapshot.config_digest,
            },
            inputs=self._processing.identity()
            | media_recipe(self.modality, sampling_rate=self.sampling_rate, frame_count=self.frame_count),
            capture={
                "layers": list(self.layers),
                "pooling": self.pooling,
                "final_norm": self._family.final_norm,
                "compute_dtype": self._dtype,
                "attention": _ATTENTION,
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
            "device": self._model.device.type,
            "threads": torch.get_num_threads(),
            "backbone_licence": preset.licence if preset else "unknown: see its model card",
        }

    def text_length(self, title: str) -> int:
        """Return the number of tokens of a title, special ones included, cut at the longest the backbone reads."""
        return len(self._processing.prepare(title)["input_ids"])

    def prepare(self, medium: Any) -> ModelInputs:  # noqa: ANN401 - text, picture or array by modality
        """Return one item's model inputs; they do not depend on any other item.

        Parameters
        ----------
        medium
            A title; a PIL picture in RGB; mono float32 ``(samples,)`` at
            ``sampling_rate``; uint8 ``(frame_count, height, width, 3)``.
        """
        return self._processing.prepare(medium)

    def encode(self, batch: Sequence[Mapping[str, npt.NDArray[Any]]]) -> npt.NDArray[np.float32]:
        """Return the pooled hidden states of the kept layers, ``(items, layer, dim)`` float32.

        Titles are padded to the longest of the batch and masked.
        """
        device, dtype = self._model.device, _DTYPES[self._dtype]
        inputs = {name: torch.from_numpy(array).to(device) for name, array in _stack(batch).items()}
        inputs = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in inputs.items()}
        pool = partial(pool_tokens, family=self._family, pooling=self.pooling, mask=inputs.get("attention_mask"))
        try:
            with torch.inference_mode(), pooled_states(self._model, self.layers, pool) as states:
                self._model(**inputs)
        except torch.OutOfMemoryError:
            raise ResourceError(
                f"{self.modality.value}: no memory left on {device} for a batch of {len(batch)}",
                remedy=f"Run the same command with --batch-size {max(1, len(batch) // 2)}: it goes on from here.",
            ) from None
        stacked: npt.NDArray[np.float32] = torch.stack([states[layer] for layer in self.layers], dim=1).cpu().numpy()
        return stacked


def load_backbone(
    modality: Modality,
    source: str | None = None,
    *,
    revision: str | None = None,
    layers: str = "half",
    pooling: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
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
        raise UsageError(f"--pooling {chosen}: expected one of {', '.join(family.poolings)} for {family.model_type}")
    if dtype not in _DTYPES:
        raise UsageError(f"--dtype {dtype}: expected one of {', '.join(_DTYPES)}")
    model = _load_model(family, snapshot, named, dtype).to(_pick_device(device)).eval()
    return Backbone(
        family,
        snapshot,
        model,
        load_processing(family, snapshot, model.config),
        layers=parse_layers(layers, len(blocks_of(model))),
        pooling=chosen,
        dtype=dtype,
    )


def _load_model(family: Family, snapshot: Snapshot, source: str, dtype: str) -> Any:  # noqa: ANN401 - untyped library
    options = {"add_pooling_layer": False} if family.has_pooler else {}
    try:
        model, report = getattr(transformers, family.model_class).from_pretrained(
            snapshot.folder,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            dtype=_DTYPES[dtype],
            attn_implementation=_ATTENTION,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that the report names them; none is accepted
            **options,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"--backbone {source}: {family.model_class} could not be loaded from {snapshot.folder}: {first}",
            remedy=f"Run: {snapshot.download_command(force=True)}",
        ) from None
    misfits = sorted(str(entry[0]) for entry in report["mismatched_keys"])
    if misfits:
        raise UsageError(
            f"--backbone {source}: {len(misfits):,} weights of the checkpoint have another shape than config.json says, "
            f"first: {misfits[0]}"
        )
    missing = sorted(report["missing_keys"])
    if missing:
        raise UsageError(
            f"--backbone {source}: {len(missing):,} weights of {family.model_class} are not in the checkpoint, first: {missing[0]}"
        )
    return model.requires_grad_(False)


def _pick_device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
        torch.zeros(1, device=picked)
    except (RuntimeError, AssertionError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"--device {device}: not to be had here: {first}", remedy="Use --device auto or --device cpu"
        ) from None
    return picked


def _stack(batch: Sequence[Mapping[str, npt.NDArray[Any]]]) -> ModelInputs:
    if "input_ids" not in batch[0]:
        return {name: np.stack([inputs[name] for inputs in batch]) for name in batch[0]}
    lengths = [len(inputs["input_ids"]) for inputs in batch]
    tokens = np.zeros((len(batch), max(lengths)), np.int64)
    mask = np.zeros_like(tokens)
    for row, (inputs, length) in enumerate(zip(batch, lengths, strict=True)):
        tokens[row, :length], mask[row, :length] = inputs["input_ids"], 1
    return {"input_ids": tokens, "attention_mask": mask}
