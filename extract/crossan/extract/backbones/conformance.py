"""Check that a backbone does what a job relies on.

For authors of plug-ins, and for checkpoints that nobody has tried yet.
"""

from __future__ import annotations

import json
import math
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
from crossan.extract.backbones.backbone import Backbone
from crossan.extract.backbones.canary_inputs import canary_inputs
from crossan.extract.backbones.capture import pooled_states
from crossan.extract.backbones.library import transformers
from crossan.extract.backbones.memory import peak_bytes
from crossan.extract.backbones.opening import load_backbone
from crossan.extract.backbones.preparing import (
    ModelInputs,
    Preparer,
    TitlePreparer,
    loaded_libraries,
)
from crossan.extract.backbones.tokenizer_meaning import UNKNOWN_SHARE, least_unknown

__all__ = ["Check", "check_backbone"]

_TOLERANCE = 1e-5
"""Relative to the largest value of the same hidden state."""

_MEMORY_RATIO = 1.1
"""Largest ratio allowed of the peak memory of capturing to that of a plain forward."""


@dataclass(frozen=True, slots=True)
class Check:
    """One promise, and whether it holds."""

    name: str
    holds: bool
    found: str
    """What was measured, for people."""


def check_backbone(
    modality: Modality,
    source: str,
    *,
    revision: str | None = None,
    max_length: int | None = None,
    device: str = "auto",
) -> list[Check]:
    """Load a backbone twice, run the four canary inputs through it, and return what holds.

    Parameters
    ----------
    modality, source, revision, max_length, device
        As for `load_backbone`.

    Raises
    ------
    UsageError
        The backbone cannot be loaded.
    """
    # Twice, because an identity that changes between loadings would make a new store each time.
    backbone, again = (
        load_backbone(
            modality, source, revision=revision, layers="all", max_length=max_length, device=device
        )
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
        *_known_tokens(backbone.preparer()),
        _stable_identity(backbone, again),
        _memory(backbone, batch),
    ]


def _declared_shape(backbone: Backbone, states: npt.NDArray[Any], item_count: int) -> Check:
    expected = (item_count, len(backbone.blocks) + 1, backbone.dim)
    holds = states.shape == expected and states.dtype == np.float32
    return Check(
        "width and layers as declared",
        holds,
        f"{backbone.dim} wide, {len(backbone.blocks)} blocks, states {states.shape} {states.dtype}",
    )


def _finite(states: npt.NDArray[Any]) -> Check:
    bad = int((~np.isfinite(states)).sum())
    return Check(
        "finite values", bad == 0, f"{bad:,} of {states.size:,} values are NaN or infinite"
    )


def _count_calls(
    backbone: Backbone, batch: Sequence[ModelInputs]
) -> tuple[Check, npt.NDArray[Any]]:
    """Encode the batch and count how often the model and its blocks run."""
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
    check = Check(
        "one forward per batch",
        (len(starts), len(runs)) == (1, len(backbone.blocks)),
        f"{len(starts)} forward, {len(runs)} block runs for {len(backbone.layers)} kept layers",
    )
    return check, states


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
    expected = _hidden_states(backbone.model, inputs)
    if expected is None:
        return Check(name, True, "not offered by this model")
    if len(expected) != len(backbone.layers):
        return Check(
            name, False, f"{len(backbone.layers)} captured, {len(expected)} given by transformers"
        )
    worst = max(
        _difference(captured[:, layer].float(), state.float())
        for layer, state in enumerate(expected)
    )
    return Check(
        name,
        worst <= _TOLERANCE,
        f"largest relative difference {worst:.1e} over {len(expected)} states",
    )


def _hidden_states(
    model: Any,  # noqa: ANN401 - untyped library
    inputs: Mapping[str, Tensor],
) -> Sequence[Tensor] | None:
    """Return the hidden states that transformers gives on request, before any final norm."""
    # By default it puts the normed state in the place of the last one, which no block gave.
    before = getattr(model.config, "tie_last_hidden_states", None)
    model.config.tie_last_hidden_states = False
    try:
        states: Sequence[Tensor] | None = model(**inputs, output_hidden_states=True).hidden_states
        return states
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
    lengths = {len(array) for inputs in batch for array in inputs.values() if array.ndim == 1}
    padding = f", padded from {min(lengths)} to {max(lengths)}" if len(lengths) > 1 else ""
    return Check(
        "rows independent of batch mates and padding",
        worst <= _TOLERANCE,
        f"largest relative difference {worst:.1e} alone and in another order{padding}",
    )


def _difference(actual: Tensor, expected: Tensor) -> float:
    """Return the largest difference relative to the largest value.

    Infinity stands for a value that is not finite.
    """
    ratio = float((actual - expected).abs().max() / expected.abs().max().clamp(min=1e-30))
    return float("inf") if math.isnan(ratio) else ratio


def _travels(backbone: Backbone, media: Sequence[Any], batch: Sequence[ModelInputs]) -> Check:
    name, preparer = "preparer works in another process", backbone.preparer()
    try:
        size = len(pickle.dumps(preparer))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        return Check(name, False, f"cannot be pickled: {error}")
    # Spawned, as workers are: a forked process would have every module loaded already.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            elsewhere = list(pool.map(preparer, media))
        except BrokenProcessPool:
            return Check(
                name, False, f"another process cannot import {preparer.__module__}, or ends over it"
            )
        libraries = pool.submit(loaded_libraries).result()
    is_same = all(map(_equal_arrays, batch, elsewhere))
    arrays = "the same arrays" if is_same else "other arrays"
    needs = "without torch or transformers"
    if libraries:
        needs = f"it loads {', '.join(libraries)} there"
    return Check(name, is_same, f"{arrays}, {size:,} bytes pickled, {needs}")


def _known_tokens(preparer: Preparer) -> list[Check]:
    """Return one check for a tokenizer of ours, none for any other preparer."""
    if not isinstance(preparer, TitlePreparer):
        return []
    unknown, count = least_unknown(preparer.tokenizer)
    return [
        Check(
            "titles become tokens that the vocabulary knows",
            unknown <= UNKNOWN_SHARE * count,
            f"{unknown} of {count} tokens of the trial titles are unknown",
        )
    ]


def _equal_arrays(ours: ModelInputs, theirs: ModelInputs) -> bool:
    return ours.keys() == theirs.keys() and all(
        np.array_equal(ours[key], theirs[key]) for key in ours
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
    # A path differs between machines, and would part the stores of teammates.
    paths = [value for value in _strings(identity) if Path(value).is_absolute()]
    if paths:
        return Check(name, False, f"a path: {paths[0]}")
    return Check(name, True, f"{len(text):,} bytes of JSON, the same when loaded again")


def _strings(value: Any) -> list[str]:  # noqa: ANN401 - JSON
    """Return every string in a JSON value, keys included."""
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
    return Check(
        "capturing takes no more memory than a plain forward",
        ratio <= _MEMORY_RATIO,
        f"{captured / 2**20:.2f} MiB at the peak, {ratio:.2f} of a plain forward",
    )
