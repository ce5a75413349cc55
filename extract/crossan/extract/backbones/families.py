"""The backbone families: their concrete classes, and where their token positions are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality

__all__ = ["FAMILIES", "Family", "family_of"]


@dataclass(frozen=True, slots=True)
class Family:
    """What all checkpoints of one ``model_type`` share."""

    model_type: str
    modality: Modality
    model_class: str
    """Name in `transformers`, always a concrete class."""
    processor_class: str
    """Name in `transformers`; for pictures the PIL backend by name, so that torchvision makes no difference."""
    special_count: int
    """Special tokens at the front of the sequence; the patches or words follow."""
    default_pooling: str
    poolings: tuple[str, ...]
    has_pooler: bool
    """Whether the class takes ``add_pooling_layer``."""
    final_norm: str
    """What becomes of the last hidden state: BERT's blocks end in their norm, the others' final norm is not applied."""


_PRE_NORM = "not applied"

FAMILIES: Mapping[str, Family] = {
    family.model_type: family
    for family in (
        Family(
            "bert", Modality.TEXT, "BertModel", "BertTokenizer", 1, "cls", ("cls", "mean"), True, "part of each block"
        ),
        Family("vit", Modality.IMAGE, "ViTModel", "ViTImageProcessorPil", 1, "cls", ("cls", "mean"), True, _PRE_NORM),
        Family(
            "audio-spectrogram-transformer",
            Modality.AUDIO,
            "ASTModel",
            "ASTFeatureExtractor",
            2,
            "special",
            ("special", "cls", "mean"),
            False,
            _PRE_NORM,
        ),
        Family(
            "videomae",
            Modality.VIDEO,
            "VideoMAEModel",
            "VideoMAEImageProcessorPil",
            0,
            "mean",
            ("mean",),
            False,
            _PRE_NORM,
        ),
        Family(
            "vivit", Modality.VIDEO, "VivitModel", "VivitImageProcessor", 1, "cls", ("cls", "mean"), True, _PRE_NORM
        ),
    )
}
"""By ``model_type`` of a checkpoint's ``config.json``."""


def family_of(config: Mapping[str, Any], modality: Modality, source: str) -> Family:
    """Return the family of a checkpoint's config.

    Raises
    ------
    UsageError
        An unknown ``model_type``, or one of another modality.
    """
    model_type = str(config.get("model_type"))
    family = FAMILIES.get(model_type)
    if family is None:
        raise UsageError(f"--backbone {source}: expected model_type one of {', '.join(FAMILIES)}, found {model_type}")
    if family.modality is not modality:
        raise UsageError(
            f"--backbone {source}: expected a {modality.value} backbone, found {model_type}, which reads {family.modality.value}",
            remedy=f"crossan-extract --modality {family.modality.value} --backbone {source}",
        )
    return family
