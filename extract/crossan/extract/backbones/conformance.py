"""Whether a backbone keeps what a job relies on: for authors of plug-ins, and for checkpoints that nobody has tried yet."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crossan.cache_schema.modality import Modality
from crossan.extract.backbones.backbone import Backbone, load_backbone
from crossan.extract.backbones.canary_inputs import canary_inputs
from crossan.extract.backbones.capture import pooled_states
from crossan.extract.backbones.library import transformers
from crossan.extract.backbones.memory import peak_bytes
from crossan.extract.backbones.preparing import ModelInputs, loaded_libraries

__all__ = ["Check", "check_backbone"]

_TOLERANCE = 1e-5
"""Relative to the largest value of the same hidden state."""

_MEMORY_RATIO = 1.1
"""Most that capturing may take at its peak, over a plain forward."""


@dataclass(frozen=True, slots=True)
class Check:
    """One promise, and what was found."""

    name: str
    holds: bool
    found: str


def check_backbone(
    modality: Modality, source: str, *, revision: str | None = None, device: str = "auto"
) -> list[Check]:
    """Load a backbone twice, run the four canary inputs through it, and return what holds.

    Parameters
    ----------
    modality, source, revision, device
        As for `load_backbone`.

    Raises
    ------
    UsageError
        It cannot be loaded.
    """
    backbone, again = (
        load_backbone(modality, source, revision=revision, layers="all", device=device)
        for _ in range(2)
    )
    media = canary_inputs(backbone)
    batch = [backbone.prepare(medium) for medium in media]
    starts, states = _count_calls(backbone, batch)
    return [
        _declared_shape(backbone, states, len(media)),
        _finite(states),
        starts,
        _equals_transformers(backbone, batch),
        _independent(backbone, batch, states),
        _travels(backbone, media, batch),
        _stable_identity(backbone, again),
        _memory(backbone, batch),
    ]


def _declared_shape(backbone: Backbone, states: npt.NDArray[Any], item_count: int) -> Check:
    expected = (item_count, len(backbone.blocks) + 1, backbone.dim)
    found = (
        f"{backbone.dim} wide, {len(backbone.blocks)} blocks, states {states.shape} {states.dtype}"
    )
    return Check(
        "width and layers as declared",
        states.shape == expected and states.dtype == np.float32,
        found,
    )


def _finite(states: npt.NDArray[Any]) -> Check:
    bad = int((~np.isfinite(states)).sum())
    found = f"{bad:,} of {states.size:,} values are NaN or infinite"
    return Check("finite values", bad == 0, found)


def _count_calls(
    backbone: Backbone, batch: Sequence[ModelInputs]
) -> tuple[Check, npt.NDArray[Any]]:
    """Encode the batch, counting how often the model and its blocks run."""
    starts: list[Any] = []
    runs: list[Any] = []
    hooks = [backbone.model.register_forward_pre_hook(lambda *_: starts.append(1))]
    hooks += [
        block.register_forward_pre_hook(lambda *_: runs.append(1)) for block in backbone.blocks
    ]
    try:
        states = backbone.encode(batch)
    finally:
        for hook in hooks:
            hook.remove()
    found = f"{len(starts)} forward, {len(runs)} block runs for {len(backbone.layers)} kept layers"
    return Check(
        "one forward per batch", (len(starts), len(runs)) == (1, len(backbone.blocks)), found
    ), states


@torch.inference_mode()
def _equals_transformers(backbone: Backbone, batch: Sequence[ModelInputs]) -> Check:
    """Compare every token of every captured state, before pooling."""
    name = "states equal output_hidden_states"
    if not isinstance(backbone.model, transformers.PreTrainedModel):
        return Check(name, True, "not offered: the model is none of transformers'")
    inputs, _ = backbone.model_inputs(batch)
    captured = pooled_states(
        backbone.model, backbone.blocks, backbone.layers, lambda hidden: hidden, inputs
    )
    wanted = _hidden_states(backbone.model, inputs)
    if wanted is None:
        return Check(name, True, "not offered by this model")
    if len(wanted) != len(backbone.layers):
        return Check(
            name, False, f"{len(backbone.layers)} captured, {len(wanted)} given by transformers"
        )
    worst = max(
        _difference(captured[:, layer].float(), state.float()) for layer, state in enumerate(wanted)
    )
    return Check(
        name,
        worst <= _TOLERANCE,
        f"largest relative difference {worst:.1e} over {len(wanted)} states",
    )


def _hidden_states(model: Any, inputs: Mapping[str, Tensor]) -> Sequence[Tensor] | None:  # noqa: ANN401 - untyped library
    """Return transformers' own hidden states; its habit to put the normed state in the last one's place is set aside."""
    before = getattr(model.config, "tie_last_hidden_states", None)
    model.config.tie_last_hidden_states = False
    try:
        return model(**inputs, output_hidden_states=True).hidden_states  # type: ignore[no-any-return]
    finally:
        model.config.tie_last_hidden_states = before


def _independent(
    backbone: Backbone, batch: Sequence[ModelInputs], states: npt.NDArray[Any]
) -> Check:
    alone = np.concatenate([backbone.encode([inputs]) for inputs in batch])
    turned = backbone.encode(list(reversed(batch)))[::-1]
    worst = max(
        _difference(torch.from_numpy(other.copy()), torch.from_numpy(states))
        for other in (alone, turned)
    )
    lengths = sorted(
        {len(array) for inputs in batch for array in inputs.values() if array.ndim == 1}
    )
    padding = f", padded from {lengths[0]} to {lengths[-1]}" if len(lengths) > 1 else ""
    found = f"largest relative difference {worst:.1e} alone and in another order{padding}"
    return Check("rows independent of batch mates and padding", worst <= _TOLERANCE, found)


def _difference(found: Tensor, wanted: Tensor) -> float:
    """Return the largest difference relative to the largest value; infinity where a value is not finite."""
    ratio = float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30))
    return ratio if ratio == ratio else float("inf")


def _travels(backbone: Backbone, media: Sequence[Any], batch: Sequence[ModelInputs]) -> Check:
    name, preparer = "preparer works in another process", backbone.preparer()
    try:
        size = len(pickle.dumps(preparer))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        return Check(name, False, f"cannot be pickled: {error}")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            elsewhere = list(pool.map(preparer, media))
        except BrokenProcessPool:
            return Check(
                name, False, f"another process cannot import {preparer.__module__}, or ends over it"
            )
        libraries = pool.submit(loaded_libraries).result()
    is_same = all(
        set(ours) == set(theirs) and all(np.array_equal(ours[key], theirs[key]) for key in ours)
        for ours, theirs in zip(batch, elsewhere, strict=True)
    )
    needs = (
        f"it loads {', '.join(libraries)} there" if libraries else "without torch or transformers"
    )
    return Check(
        name,
        is_same,
        f"{'the same' if is_same else 'other'} arrays, {size:,} bytes pickled, {needs}",
    )


def _stable_identity(backbone: Backbone, again: Backbone) -> Check:
    name = "identity is plain, stable and without paths"
    try:
        identity, other = (
            loaded.identity("float16", "raw").to_dict() for loaded in (backbone, again)
        )
        text = json.dumps(identity, allow_nan=False)
    except (TypeError, ValueError) as error:
        return Check(name, False, f"not JSON: {error}")
    if identity != other:
        return Check(name, False, "loaded again, it is another")
    paths = [value for value in _strings(identity) if Path(value).is_absolute()]
    found = (
        f"a path: {paths[0]}"
        if paths
        else f"{len(text):,} bytes of JSON, the same when loaded again"
    )
    return Check(name, not paths, found)


def _strings(value: Any) -> list[str]:  # noqa: ANN401 - JSON
    if isinstance(value, Mapping):
        return [text for key, inner in value.items() for text in (key, *_strings(inner))]
    if isinstance(value, list | tuple):
        return [text for inner in value for text in _strings(inner)]
    return [value] if isinstance(value, str) else []


@torch.inference_mode()
def _memory(backbone: Backbone, batch: Sequence[ModelInputs]) -> Check:
    plain = peak_bytes(lambda: backbone.model(**backbone.model_inputs(batch)[0]), backbone.device)
    captured = peak_bytes(lambda: backbone.encode(batch), backbone.device)
    ratio = captured / max(plain, 1)
    found = f"{captured / 2**20:.2f} MiB at the peak, {ratio:.2f} of a plain forward"
    return Check(
        "capturing takes no more memory than a plain forward", ratio <= _MEMORY_RATIO, found
    )
