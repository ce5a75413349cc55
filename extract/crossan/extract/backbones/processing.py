"""Load the tokeniser or processor that makes model inputs of a decoded medium."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.extract.backbones.declared_processor import declared_processor
from crossan.extract.backbones.declared_tokenizer import declared_tokenizer
from crossan.extract.backbones.families import Family
from crossan.extract.backbones.inputs import Processing
from crossan.extract.backbones.library import FOREIGN_ERRORS, first_line, load_processor
from crossan.extract.backbones.loading import loading_errors_of
from crossan.extract.backbones.preparing import Preparer, ProcessorPreparer, TitlePreparer
from crossan.extract.backbones.snapshot import Snapshot
from crossan.extract.backbones.vectorise import vectorised_pictures, vectorised_sounds

__all__ = ["expected_size", "load_processing"]

_NO_SETTINGS = {
    "processor_class",
    "image_processor_type",
    "feature_extractor_type",
    "name_or_path",
    "transformers_version",
}
"""Entries of a processor's config that name a class, a path or a release."""


def load_processing(
    family: Family, snapshot: Snapshot, model: nn.Module, max_length: int | None = None
) -> Processing:
    """Load the tokeniser or processor that lies beside a checkpoint.

    Pictures and sounds are prepared by our vectorised code where that gives
    what the processor gives, tried at each loading, else by the processor.

    Raises
    ------
    UsageError
        Its files are missing or damaged, it refuses what every backbone takes, it does
        not fit the model, or ``max_length`` is more than the backbone reads.
    """
    if family.load_processing is not None:
        if max_length is not None and family.modality is Modality.TEXT:
            raise UsageError(
                f"--max-length {max_length}: family {family.model_type} cuts titles by itself"
            )
        with loading_errors_of(family, snapshot):
            return family.load_processing(snapshot.folder, snapshot.config)
    if family.modality is Modality.TEXT:
        return _text_processing(family, snapshot, model, max_length)
    class_name = declared_processor(family, snapshot)
    try:
        processor = load_processor(class_name, snapshot.folder)
        return _media_processing(family, snapshot, class_name, processor, model.config)
    except FOREIGN_ERRORS as error:
        medium = "sound" if family.modality is Modality.AUDIO else "picture"
        raise UsageError(
            f"{snapshot.folder}: {class_name} with the settings of "
            f"preprocessor_config.json refuses a plain {medium}: {first_line(error)}",
            remedy=snapshot.remedy,
        ) from None


def _media_processing(
    family: Family,
    snapshot: Snapshot,
    class_name: str,
    processor: Any,  # noqa: ANN401 - untyped library
    config: Any,  # noqa: ANN401 - untyped library
) -> Processing:
    settings = _resolved_settings(processor)
    rate = int(processor.sampling_rate) if family.modality is Modality.AUDIO else None
    frame_count = int(config.num_frames) if family.modality is Modality.VIDEO else None
    fallback = ProcessorPreparer(class_name, str(snapshot.folder), family.modality, rate)
    vectorised: tuple[Preparer, nn.Module] | None
    with torch.inference_mode():
        if family.modality is Modality.AUDIO:
            vectorised = vectorised_sounds(processor, fallback)
        else:
            size = expected_size(config)
            vectorised = vectorised_pictures(settings, fallback, frame_count, size)
    preparer, finish = vectorised or (fallback, None)
    return Processing(
        preparer,
        class_name,
        settings,
        finish,
        "processor" if vectorised is None else "vectorised",
        sampling_rate=rate,
        frame_count=frame_count,
    )


def _text_processing(
    family: Family, snapshot: Snapshot, model: nn.Module, max_length: int | None
) -> Processing:
    assert family.processor_class is not None
    untyped: Any = model
    declared = declared_tokenizer(
        snapshot.folder,
        family.processor_class,
        snapshot.config.get("tokenizer_class"),
        int(untyped.get_input_embeddings().num_embeddings),
        snapshot.remedy,
    )
    longest = int(min(declared.longest, untyped.config.max_position_embeddings))
    shortest = declared.tokenizer.num_special_tokens_to_add(is_pair=False) + 1
    if longest < shortest:
        raise UsageError(
            f"{snapshot.folder}: expected a backbone that reads at least {shortest} tokens,"
            f" special tokens included, found {longest}"
        )
    if max_length is not None and not shortest <= max_length <= longest:
        raise UsageError(
            f"--max-length {max_length}: expected {shortest} to {longest:,} tokens,"
            " special tokens included, for this backbone"
        )
    kept = max_length or longest
    declared.tokenizer.enable_truncation(kept, direction=declared.truncation_side)
    return Processing(
        TitlePreparer(declared.tokenizer),
        declared.class_name,
        declared.settings,
        preparation="processor",
        tokenizer_sha256=declared.sha256,
        max_length=kept,
        family_revision=family.own_tokenizer_revision if declared.is_family_own else None,
    )


def expected_size(config: Any) -> tuple[int, int] | None:  # noqa: ANN401 - untyped library
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
