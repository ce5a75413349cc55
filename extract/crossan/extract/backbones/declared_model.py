"""Hold ``config.json`` against the weights, before a model is built of it.

A config is a few bytes that anybody wrote. It can ask for more layers than the
machine has memory for, or for what the frozen backbone does not have.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from crossan.cache_schema.errors import UsageError
from crossan.extract.backbones.families import Family
from crossan.extract.backbones.library import (
    FOREIGN_ERRORS,
    find_model_class,
    first_line,
    transformers,
)
from crossan.extract.backbones.snapshot import Snapshot
from crossan.extract.backbones.weight_files import Weights

__all__ = ["check_config"]

_LAYERS = re.compile(r"(.*_)?n?_?layers?")
"""Keys under which transformers keeps a number of layers, such as ``num_hidden_layers``."""

_ACTIVATIONS = ("hidden_act", "hidden_activation", "activation_function")

_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers")
_LENGTHS = (
    "vocab_size",
    "max_position_embeddings",
    "type_vocab_size",
    "num_channels",
    "patch_size",
    "tubelet_size",
    "max_length",
    "num_mel_bins",
)
"""Sizes that add weights to those of the blocks, in one family or another."""

_SLACK = 1 << 20
"""Numbers that a model may have too many whatever the weights, 4 MiB."""

_MOST_POSITIONS = 1 << 15
"""Patches of one picture or clip; more take a minute to number, and days to attend to."""


def check_config(family: Family, snapshot: Snapshot, weights: Weights) -> None:
    """Refuse a config that the weights cannot fill, or that asks for what is not read.

    Raises
    ------
    UsageError
        It is quantised, or its numbers or names fit no model of these weights.
    """
    config, where = snapshot.config, snapshot.folder / "config.json"
    if config.get("quantization_config") or config.get("compression_config"):
        method = _method(config.get("quantization_config") or config.get("compression_config"))
        raise UsageError(
            f"{where}: expected a backbone in floating point, found one quantised by {method}",
            remedy="Take the checkpoint that it was made of, which has no quantization_config",
        )
    if family.model_class is None:
        return
    problems = [
        *_impossible_layers(config, len(weights.shapes)),
        *_unknown_names(config),
        *_impossible_patches(config),
    ]
    if problems:
        raise UsageError(f"{where}: {problems[0]}", remedy=snapshot.remedy)
    _check_size(family, snapshot, weights)


def _method(settings: Any) -> str:  # noqa: ANN401 - JSON
    return str(settings.get("quant_method", "?")) if isinstance(settings, Mapping) else "?"


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:  # noqa: ANN401 - JSON
    """Yield every JSON object in a config, outermost first."""
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from _objects(inner)


def _impossible_layers(config: Mapping[str, Any], tensor_count: int) -> Iterator[str]:
    for part in _objects(config):
        for key, value in part.items():
            # A block has one weight at least. Ten million empty blocks would already fill memory.
            if isinstance(value, int) and _LAYERS.fullmatch(key) and value > tensor_count:
                yield f"expected at most {tensor_count:,} layers, the weights, found {key} {value}"


def _unknown_names(config: Mapping[str, Any]) -> Iterator[str]:
    for part in _objects(config):
        for key in _ACTIVATIONS:
            name = part.get(key)
            if isinstance(name, str) and name not in transformers.activations.ACT2FN:
                yield f"expected an activation that transformers knows, found {key} {name!r}"
        positions = part.get("position_embedding_type")
        if positions not in (None, "absolute"):
            yield (
                "expected absolute positions, which are all that transformers still reads,"
                f" found position_embedding_type {positions!r}"
            )


def _impossible_patches(config: Mapping[str, Any]) -> Iterator[str]:
    for part in _objects(config):
        # ViViT's tubes have three numbers, VideoMAE's one beside a patch size.
        tube = _numbers(part.get("tubelet_size"), 1)
        height, width = (_numbers(part.get("image_size"), 2) or [0, 0])[-2:]
        patch = _numbers(part.get("patch_size"), 2) or tube
        frames = _numbers(part.get("num_frames"), 1)
        if not height or len(patch) < 2:
            continue
        depth = frames[0] // tube[0] if frames and tube else 1
        count = depth * (height // patch[-2]) * (width // patch[-1])
        if not 1 <= count <= _MOST_POSITIONS:
            yield (
                f"expected 1 to {_MOST_POSITIONS:,} patches,"
                f" found {count:,} for image_size {part['image_size']}"
            )


def _numbers(value: Any, count: int) -> list[int]:  # noqa: ANN401 - JSON
    """Return the numbers of a size.

    None where it is no size, which transformers refuses.
    """
    values = value if isinstance(value, list) else [value] * count
    is_size = len(values) >= count and all(
        isinstance(number, int) and number > 0 for number in values
    )
    return values if is_size else []


def _most_elements(config: Mapping[str, Any]) -> int | None:
    """Return a number that the weights of a built-in family's model stay below.

    None where the config lacks a size, or one of its sizes is none.
    """
    sizes = {
        key: math.prod(_numbers(config[key], 1))
        for key in (*_SIZES, *_LENGTHS)
        if config.get(key) is not None and _numbers(config[key], 1)
    }
    if any(key not in sizes for key in _SIZES) or any(
        config.get(key) is not None and key not in sizes for key in _LENGTHS
    ):
        return None
    width, inner, block_count = (sizes[key] for key in _SIZES)
    of_a_block = 4 * width * width + 2 * width * inner + 16 * (width + inner)
    of_a_patch = sizes.get("patch_size", 1) ** 2 * sizes.get("tubelet_size", 1)
    row_count = (
        sum(sizes.get(key, 0) for key in _LENGTHS[:3])
        + sizes.get("num_channels", 1) * of_a_patch
        + sizes.get("max_length", 0) * sizes.get("num_mel_bins", 1)
        + (_MOST_POSITIONS if "image_size" in config else 0)
    )
    return block_count * of_a_block + width * row_count


def _check_size(family: Family, snapshot: Snapshot, weights: Weights) -> None:
    """Refuse a model of far more weights than there are."""
    # Somewhat more is left to transformers' report, which names the weights that are missing.
    allowed = 4 * weights.element_count + _SLACK
    most = _most_elements(snapshot.config)
    if most is not None and most <= allowed:
        return
    # Built without memory: exact, but it takes VideoMAE's table of positions a second.
    model_class = find_model_class(str(family.model_class))
    options = {"add_pooling_layer": False} if family.has_pooler else {}
    try:
        config = model_class.config_class.from_pretrained(snapshot.folder, local_files_only=True)
        with torch.device("meta"):
            model = model_class(config, **options)
    except FOREIGN_ERRORS as error:
        raise UsageError(
            f"{snapshot.folder / 'config.json'}: "
            f"{family.model_class} could not be loaded by it: {first_line(error)}",
            remedy=snapshot.remedy,
        ) from None
    count = sum(parameter.numel() for parameter in model.parameters())
    if count > allowed:
        raise UsageError(
            f"{snapshot.folder / 'config.json'}: {family.model_class} would have {count:,} numbers,"
            f" the weights of the checkpoint have {weights.element_count:,}",
            remedy=snapshot.remedy,
        )
