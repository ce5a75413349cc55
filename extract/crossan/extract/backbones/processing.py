"""Tokenisers and processors: one decoded medium to model inputs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers.models.audio_spectrogram_transformer import feature_extraction_audio_spectrogram_transformer as ast

from crossan.cache_schema.canonical import digest_of
from crossan.cache_schema.errors import DataError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.extract.backbones.families import Family
from crossan.extract.backbones.library import transformers
from crossan.extract.backbones.snapshot import Snapshot

__all__ = ["Processing", "load_processing"]

_CUTTING = ("normalizer", "pre_tokenizer", "post_processor")
"""Parts of a tokeniser beside its vocabulary that change what a text becomes."""

_AST_WINDOW = 400
"""Samples of one spectrum in AST's extractor, at any sampling rate; of a shorter sound it makes an empty spectrogram."""


@dataclass(frozen=True, slots=True)
class Processing:
    """How one medium becomes model inputs, and what fixes that."""

    prepare: Callable[[Any], dict[str, npt.NDArray[Any]]]
    """One decoded medium to named arrays without a batch axis."""
    processor_class: str
    processor_config: Mapping[str, Any]
    tokenizer_sha256: str | None = None
    max_length: int | None = None
    """Tokens of a title at most."""
    sampling_rate: int | None = None
    """Hz."""
    frame_count: int | None = None

    def identity(self) -> dict[str, Any]:
        """Return what fixes the model inputs, as JSON."""
        return {
            "processor": self.processor_class,
            "processor_config": dict(self.processor_config),
            "tokenizer_sha256": self.tokenizer_sha256,
            "max_length": self.max_length,
        }


def load_processing(family: Family, snapshot: Snapshot, config: Any) -> Processing:  # noqa: ANN401 - untyped library
    """Load the tokeniser or processor that lies beside a checkpoint.

    Raises
    ------
    UsageError
        Its files are not there.
    """
    if family.modality is Modality.AUDIO:
        # Where torchaudio is installed the same class would compute its filter bank by other code.
        ast.is_speech_available = lambda: False
    wanted = ("vocab.txt", "tokenizer.json") if family.modality is Modality.TEXT else ("preprocessor_config.json",)
    if not any((snapshot.folder / name).is_file() for name in wanted):
        raise UsageError(
            f"{snapshot.folder}: expected {' or '.join(wanted)} beside the weights, found none",
            remedy=f"Run: {snapshot.download_command()}",
        )
    processor = getattr(transformers, family.processor_class).from_pretrained(snapshot.folder, local_files_only=True)
    if family.modality is Modality.TEXT:
        return _text(processor, config)
    if family.modality is Modality.AUDIO:
        return _audio(processor)
    if family.modality is Modality.IMAGE:
        return _pictures(processor, family, np.asarray, None)
    return _pictures(processor, family, list, int(config.num_frames))


def _text(tokenizer: Any, config: Any) -> Processing:  # noqa: ANN401
    max_length = min(int(tokenizer.model_max_length), int(config.max_position_embeddings))
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    settings = {name: parts.get(name) for name in _CUTTING}
    tokenizer("", truncation=True, max_length=max_length)  # sets the truncation now: later, threads would race for it

    def prepare(title: str) -> dict[str, npt.NDArray[Any]]:
        tokens = tokenizer(title, truncation=True, max_length=max_length)["input_ids"]
        return {"input_ids": np.asarray(tokens, np.int64)}

    digest = digest_of({"vocabulary": tokenizer.get_vocab(), "settings": settings})
    return Processing(prepare, type(tokenizer).__name__, settings, tokenizer_sha256=digest, max_length=max_length)


def _audio(extractor: Any) -> Processing:  # noqa: ANN401
    rate = int(extractor.sampling_rate)

    def prepare(samples: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[Any]]:
        if len(samples) < _AST_WINDOW:
            raise DataError(f"expected a sound of at least {_AST_WINDOW} samples, found {len(samples)}")
        values = extractor(samples, sampling_rate=rate, return_tensors="np")["input_values"]
        return {"input_values": np.asarray(values[0], np.float32)}

    return Processing(prepare, type(extractor).__name__, _config_of(extractor), sampling_rate=rate)


def _pictures(
    processor: Any,  # noqa: ANN401
    family: Family,
    to_input: Callable[[Any], Any],
    frame_count: int | None,
) -> Processing:
    def prepare(medium: Any) -> dict[str, npt.NDArray[Any]]:  # noqa: ANN401 - a picture or frames
        # Told, not guessed: a picture one or three pixels high would be taken for one with the channels first.
        values = processor(to_input(medium), input_data_format="channels_last", return_tensors="np")["pixel_values"]
        return {"pixel_values": np.asarray(values[0], np.float32)}

    return Processing(prepare, family.processor_class, _config_of(processor), frame_count=frame_count)


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
        key: value for key, value in processor.to_dict().items() if key not in named and not key.startswith("_")
    }
    return {key: _plain(value) for key, value in settings.items() if value is not None}


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, bool | int | float | str) else str(value)
