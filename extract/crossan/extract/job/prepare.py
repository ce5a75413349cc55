"""From one item's medium to model inputs, or to the state and reason that stand in for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.extract.job.worklist import Finding
from crossan.extract.media import AbsentMedium, MediaError, decode_audio, decode_image, decode_video

__all__ = ["Encoder", "Prepared", "decoder_for", "prepare_medium"]

ModelInputs = dict[str, np.ndarray[Any, Any]]


class Encoder(Protocol):
    """What a job needs of a backbone; `crossan.extract.backbones.Backbone` is the real one."""

    modality: Modality
    layers: tuple[int, ...]
    dim: int
    sampling_rate: int | None
    frame_count: int | None

    def identity(self, stored_dtype: str, codec: str) -> StoreIdentity:
        """Return everything that fixes the numbers."""

    def provenance(self) -> dict[str, Any]:
        """Return what is recorded but does not fix the numbers."""

    def text_length(self, title: str) -> int:
        """Return the number of tokens of a title."""

    def prepare(self, medium: Any) -> ModelInputs:  # noqa: ANN401 - text, picture or array by modality
        """Return the model inputs of one decoded item."""

    def encode(self, batch: list[ModelInputs]) -> np.ndarray[Any, Any]:
        """Return the pooled hidden states, float32 ``(item, layer, dim)``."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A finding with its model inputs, or with the final state of an item that has none."""

    finding: Finding
    inputs: ModelInputs | None = None
    status: ItemStatus = ItemStatus.OK
    reason: str | None = None


def decoder_for(encoder: Encoder) -> Callable[[Path], Any]:
    """Return the decoder that gives what ``encoder.prepare`` takes."""
    if encoder.modality is Modality.IMAGE:
        return decode_image
    if encoder.modality is Modality.AUDIO:
        sampling_rate = encoder.sampling_rate
        assert sampling_rate is not None
        return lambda path: decode_audio(path, sampling_rate=sampling_rate)
    frame_count = encoder.frame_count
    assert frame_count is not None
    return lambda path: decode_video(path, frame_count=frame_count)


def prepare_medium(finding: Finding, encoder: Encoder, decode: Callable[[Path], Any] | None) -> Prepared:
    """Decode one medium and turn it into model inputs; a bad medium becomes a state with a typed reason.

    Parameters
    ----------
    decode
        Reads a file; None for titles.
    """
    if finding.status is not None:
        return Prepared(finding, None, finding.status, finding.reason)
    medium = finding.medium
    try:
        decoded = medium.title if decode is None or medium.path is None else decode(medium.path)
    except AbsentMedium as error:
        return Prepared(finding, None, ItemStatus.ABSENT, str(error))
    except MediaError as error:
        return Prepared(finding, None, ItemStatus.QUARANTINED, f"{error.reason.value}: {error.detail}")
    except FileNotFoundError:
        return Prepared(Finding(medium), None, ItemStatus.MISSING, f"missing: no file at {medium.path}")
    except OSError as error:
        return Prepared(finding, None, ItemStatus.QUARANTINED, f"unreadable: {error.strerror or error}")
    try:
        return Prepared(finding, encoder.prepare(decoded))
    except ValueError as error:  # transformers' processors refuse an input they cannot use with a ValueError
        return Prepared(finding, None, ItemStatus.QUARANTINED, f"unusable-input: {error}")
