"""Load the tokeniser or processor that makes model inputs of a decoded medium."""

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

_TOKENIZER_PARTS = ("normalizer", "pre_tokenizer", "post_processor")
"""Parts of a tokeniser beside its vocabulary that change what a text becomes."""

_NO_SETTINGS = {
    "processor_class",
    "image_processor_type",
    "feature_extractor_type",
    "name_or_path",
    "transformers_version",
}
"""Entries of a processor's config that name a class, a path or a release."""


def load_processing(family: Family, snapshot: Snapshot, model: nn.Module) -> Processing:
    """Load the tokeniser or processor that lies beside a checkpoint.

    Pictures and sounds are prepared by our vectorised code where that gives
    what the processor gives, tried at each loading, else by the processor.

    Raises
    ------
    UsageError
        Its files are missing, or it refuses what every backbone takes.
    """
    if family.load_processing is not None:
        return family.load_processing(snapshot.folder, snapshot.config)
    assert family.processor_class is not None
    names = ["preprocessor_config.json"]
    if family.modality is Modality.TEXT:
        names = ["vocab.txt", "tokenizer.json"]
    if not any((snapshot.folder / name).is_file() for name in names):
        raise UsageError(
            f"{snapshot.folder}: expected {' or '.join(names)} beside the weights, found none",
            remedy=f"Run: {snapshot.download_command()}",
        )
    processor = load_processor(family.processor_class, snapshot.folder)
    if family.modality is Modality.TEXT:
        config: Any = model.config
        return _text_processing(processor, int(config.max_position_embeddings))
    return _media_processing(family, snapshot, processor, model.config)


def _media_processing(
    family: Family,
    snapshot: Snapshot,
    processor: Any,  # noqa: ANN401 - untyped library
    config: Any,  # noqa: ANN401 - untyped library
) -> Processing:
    assert family.processor_class is not None
    settings = _resolved_settings(processor)
    rate = int(processor.sampling_rate) if family.modality is Modality.AUDIO else None
    frame_count = int(config.num_frames) if family.modality is Modality.VIDEO else None
    fallback = ProcessorPreparer(
        family.processor_class, str(snapshot.folder), family.modality, rate
    )
    vectorised: tuple[Preparer, nn.Module] | None
    try:
        with torch.inference_mode():
            if family.modality is Modality.AUDIO:
                vectorised = vectorised_sounds(processor, fallback)
            else:
                size = _expected_size(config)
                vectorised = vectorised_pictures(settings, fallback, frame_count, size)
    except ValueError as error:
        medium = "sound" if family.modality is Modality.AUDIO else "picture"
        raise UsageError(
            f"{snapshot.folder}: {family.processor_class} with the settings of "
            f"preprocessor_config.json refuses a plain {medium}: {error}"
        ) from None
    preparer, finish = vectorised or (fallback, None)
    return Processing(
        preparer,
        family.processor_class,
        settings,
        finish,
        "processor" if vectorised is None else "vectorised",
        sampling_rate=rate,
        frame_count=frame_count,
    )


def _text_processing(
    tokenizer: Any,  # noqa: ANN401 - untyped library
    position_count: int,
) -> Processing:
    max_length = min(int(tokenizer.model_max_length), position_count)
    # A call is the public way to set the truncation of the backend, which is copied below.
    tokenizer("", truncation=True, max_length=max_length)
    text = tokenizer.backend_tokenizer.to_str()
    preparer = TitlePreparer(type(tokenizer.backend_tokenizer).from_str(text))
    # Only the parts that decide which tokens a title becomes; max_length tells of the truncation.
    settings = {name: json.loads(text).get(name) for name in _TOKENIZER_PARTS}
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
    """Return the (height, width) that a model takes, None where its config names none."""
    size = getattr(config, "image_size", None)
    if isinstance(size, list | tuple):
        height, width = size
        return int(height), int(width)
    return None if size is None else (int(size), int(size))


def _resolved_settings(processor: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a processor's settings as plain values, defaults included.

    These are part of a store's identity, so nothing in them may differ between
    machines or releases: no class, no path, no version.
    """
    return {
        key: _plain(value)
        for key, value in processor.to_dict().items()
        if value is not None and key not in _NO_SETTINGS and not key.startswith("_")
    }


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, bool | int | float | str) else str(value)
