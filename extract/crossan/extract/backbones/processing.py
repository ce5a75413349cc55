"""Tokenisers and processors: how one decoded medium becomes model inputs, and what fixes that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from crossan.cache_schema.canonical import digest_of
from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.extract.backbones.families import Family
from crossan.extract.backbones.inputs import Processing
from crossan.extract.backbones.library import load_processor
from crossan.extract.backbones.preparing import Preparer, ProcessorPreparer, TitlePreparer
from crossan.extract.backbones.snapshot import Snapshot
from crossan.extract.backbones.vectorise import vectorised_pictures, vectorised_sounds

__all__ = ["load_processing"]

_CUTTING = ("normalizer", "pre_tokenizer", "post_processor")
"""Parts of a tokeniser beside its vocabulary that change what a text becomes."""


def load_processing(family: Family, snapshot: Snapshot, model: nn.Module) -> Processing:
    """Load the tokeniser or processor that lies beside a checkpoint.

    Pictures and sounds are prepared by our vectorised code where that gives
    what the processor gives, tried at each loading, else by the processor.

    Raises
    ------
    UsageError
        Its files are not there, or it refuses what every backbone takes.
    """
    if family.load_processing is not None:
        return family.load_processing(snapshot.folder, snapshot.config)
    assert family.processor_class is not None
    wanted = (
        ("vocab.txt", "tokenizer.json")
        if family.modality is Modality.TEXT
        else ("preprocessor_config.json",)
    )
    if not any((snapshot.folder / name).is_file() for name in wanted):
        raise UsageError(
            f"{snapshot.folder}: expected {' or '.join(wanted)} beside the weights, found none",
            remedy=f"Run: {snapshot.download_command()}",
        )
    processor = load_processor(family.processor_class, snapshot.folder)
    config: Any = model.config
    if family.modality is Modality.TEXT:
        return _text(processor, int(config.max_position_embeddings))
    settings = _config_of(processor)
    rate = int(processor.sampling_rate) if family.modality is Modality.AUDIO else None
    frame_count = int(config.num_frames) if family.modality is Modality.VIDEO else None
    fallback = ProcessorPreparer(
        family.processor_class, str(snapshot.folder), family.modality, rate
    )
    found: tuple[Preparer, nn.Module] | None
    try:
        with torch.inference_mode():
            if family.modality is Modality.AUDIO:
                found = vectorised_sounds(processor, fallback)
            else:
                found = vectorised_pictures(settings, fallback, frame_count, _expected_size(config))
    except ValueError as error:
        raise UsageError(
            f"{snapshot.folder}: {family.processor_class} with the settings of preprocessor_config.json refuses "
            f"a plain {'sound' if family.modality is Modality.AUDIO else 'picture'}: {error}"
        ) from None
    preparer, finish = (fallback, None) if found is None else found
    return Processing(
        preparer,
        family.processor_class,
        settings,
        finish,
        "processor" if found is None else "vectorised",
        sampling_rate=rate,
        frame_count=frame_count,
    )


def _text(tokenizer: Any, position_count: int) -> Processing:  # noqa: ANN401 - untyped library
    max_length = min(int(tokenizer.model_max_length), position_count)
    tokenizer(
        "", truncation=True, max_length=max_length
    )  # sets the truncation of what is copied here
    text = tokenizer.backend_tokenizer.to_str()
    preparer = TitlePreparer(type(tokenizer.backend_tokenizer).from_str(text))
    settings = {name: json.loads(text).get(name) for name in _CUTTING}
    digest = digest_of({"vocabulary": tokenizer.get_vocab(), "settings": settings})
    return Processing(
        preparer,
        type(tokenizer).__name__,
        settings,
        preparation="processor",
        tokenizer_sha256=digest,
        max_length=max_length,
    )


def _expected_size(config: Any) -> tuple[int, int] | None:  # noqa: ANN401 - untyped library
    """Return the (height, width) that a model takes; None where its config names none."""
    size = getattr(config, "image_size", None)
    if isinstance(size, list | tuple):
        height, width = size
        return int(height), int(width)
    return None if size is None else (int(size), int(size))


def _config_of(processor: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the resolved settings: plain values only, without what names a class, a path or a release."""
    named = {
        "processor_class",
        "image_processor_type",
        "feature_extractor_type",
        "name_or_path",
        "transformers_version",
    }
    settings = {
        key: value
        for key, value in processor.to_dict().items()
        if key not in named and not key.startswith("_")
    }
    return {key: _plain(value) for key, value in settings.items() if value is not None}


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, bool | int | float | str) else str(value)
