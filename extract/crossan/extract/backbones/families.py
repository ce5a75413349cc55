"""The backbone families: how one is loaded, where its blocks and token positions are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossan.cache_schema.modality import Modality

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from crossan.extract.backbones.inputs import Processing

__all__ = ["FAMILIES", "Family"]

_POOLINGS = ("cls", "special", "mean")
"""What `crossan.extract.backbones.capture` pools by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What all checkpoints of one ``model_type`` share; a plug-in describes a new one by an instance.

    Raises
    ------
    ValueError
        Not exactly one way to load the model or its processing, or a pooling that is not there.
    """

    model_type: str
    """As in a checkpoint's ``config.json``; a plug-in's entry point has the same name."""
    modality: Modality
    model_class: str | None = None
    """Name in `transformers`, always a concrete class; or else ``load_model``."""
    load_model: Callable[[Path, torch.dtype], nn.Module] | None = None
    """(the checkpoint's folder, compute dtype) to a model that takes the inputs by name."""
    processor_class: str | None = None
    """Name in `transformers`; for pictures the PIL backend by name, so that torchvision makes no difference; or else ``load_processing``."""
    load_processing: Callable[[Path, Mapping[str, Any]], Processing] | None = None
    """(the checkpoint's folder, its ``config.json``) to `Processing`."""
    blocks: str | Callable[[nn.Module], Sequence[nn.Module]] | None = None
    """Where the Transformer blocks are: a path such as ``encoder.layers``, or a function; None: where transformers keeps them."""
    width: str = "config.hidden_size"
    """Path from the model to the width of a hidden state."""
    special_count: int = 0
    """Special tokens at the front of the sequence; the patches or words follow."""
    default_pooling: str = "mean"
    poolings: tuple[str, ...] = ("mean",)
    """Accepted ``--pooling``: ``cls``, ``special``, ``mean``, or names of ``pool_functions``."""
    pool_functions: Mapping[str, Callable[[Tensor, Tensor | None], Tensor]] = field(
        default_factory=dict
    )
    """(float32 ``(items, position, dim)``, mask of real positions or None) to ``(items, dim)``."""
    has_pooler: bool = False
    """Whether ``model_class`` takes ``add_pooling_layer``."""
    final_norm: str = "not applied"
    """What becomes of the last hidden state: BERT's blocks end in their norm, the others' final norm is not applied."""
    revision: int = 1
    """Raised whenever the family's own code gives other numbers for the same checkpoint."""

    def __post_init__(self) -> None:
        """Check what the class docstring promises."""
        for one, other in (("model_class", "load_model"), ("processor_class", "load_processing")):
            if (getattr(self, one) is None) == (getattr(self, other) is None):
                raise ValueError(f"family {self.model_type}: expected either {one} or {other}")
        unknown = sorted(set(self.poolings) - set(_POOLINGS) - set(self.pool_functions))
        if unknown or self.default_pooling not in self.poolings:
            named = unknown[0] if unknown else self.default_pooling
            raise ValueError(
                f"family {self.model_type}: pooling {named} is neither built in nor in pool_functions"
            )

    @property
    def loader_name(self) -> str:
        """What loads the model, for messages."""
        return self.model_class or f"{self.load_model.__module__}.{self.load_model.__qualname__}"  # type: ignore[union-attr]


FAMILIES: Mapping[str, Family] = {
    family.model_type: family
    for family in (
        Family(
            model_type="bert",
            modality=Modality.TEXT,
            model_class="BertModel",
            processor_class="BertTokenizer",
            special_count=1,
            default_pooling="cls",
            poolings=("cls", "mean"),
            has_pooler=True,
            final_norm="part of each block",
        ),
        Family(
            model_type="vit",
            modality=Modality.IMAGE,
            model_class="ViTModel",
            processor_class="ViTImageProcessorPil",
            special_count=1,
            default_pooling="cls",
            poolings=("cls", "mean"),
            has_pooler=True,
        ),
        Family(
            model_type="audio-spectrogram-transformer",
            modality=Modality.AUDIO,
            model_class="ASTModel",
            processor_class="ASTFeatureExtractor",
            special_count=2,
            default_pooling="special",
            poolings=("special", "cls", "mean"),
        ),
        Family(
            model_type="videomae",
            modality=Modality.VIDEO,
            model_class="VideoMAEModel",
            processor_class="VideoMAEImageProcessorPil",
        ),
        Family(
            model_type="vivit",
            modality=Modality.VIDEO,
            model_class="VivitModel",
            processor_class="VivitImageProcessor",
            special_count=1,
            default_pooling="cls",
            poolings=("cls", "mean"),
            has_pooler=True,
        ),
    )
}
"""The built-in ones, by ``model_type`` of a checkpoint's ``config.json``."""
