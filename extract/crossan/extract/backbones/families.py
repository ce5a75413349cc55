"""What the checkpoints of one backbone family have in common."""

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

__all__ = ["FAMILIES", "Family", "TuningSites"]

_POOLINGS = ("cls", "special", "mean")
"""What `crossan.extract.backbones.capture` pools by name."""


@dataclass(frozen=True, slots=True)
class TuningSites:
    """Modules of a Transformer block, by their paths within it."""

    outputs: tuple[str, str]
    """Those that end the attention and the feed-forward net, before the residual is added."""
    projections: tuple[str, str]
    """The linear layers of queries and values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What all checkpoints of one ``model_type`` share.

    A plug-in describes a new family by an instance of this class.

    Raises
    ------
    ValueError
        Not exactly one way to load the model or its processing, or a pooling that nobody defines.
    """

    model_type: str
    """As in a checkpoint's ``config.json``; a plug-in's entry point has the same name."""
    modality: Modality
    model_class: str | None = None
    """Name in `transformers`, always a concrete class; None where ``load_model`` is given."""
    load_model: Callable[[Path, torch.dtype], nn.Module] | None = None
    """(the checkpoint's folder, compute dtype) to a model that takes the inputs by name."""
    processor_class: str | None = None
    """Name in `transformers`; None where ``load_processing`` is given.

    For pictures it names the PIL backend, so that an installed torchvision makes no difference.
    """
    load_processing: Callable[[Path, Mapping[str, Any]], Processing] | None = None
    """(the checkpoint's folder, its ``config.json``) to `Processing`."""
    blocks: str | Callable[[nn.Module], Sequence[nn.Module]] | None = None
    """Where the Transformer blocks are: a path such as ``encoder.layers``, or a function.

    None looks where transformers keeps them.
    """
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
    """What becomes of the last hidden state, as the identity records it.

    BERT's blocks end in their norm; the final norm of the others is not applied.
    """
    revision: int = 1
    """Raised whenever the family's own code gives other numbers for the same checkpoint."""
    heads: tuple[str, ...] | None = None
    """First parts of the names of weights that come after the blocks, or serve training alone.

    A checkpoint may hold them beside those that ``model_class`` takes. None allows any name that
    does not begin as one of the model's own.
    """
    tuning_sites: TuningSites | None = None
    """Where fine-tuning puts its own modules; None looks where transformers has such modules."""
    own_tokenizer_revision: int | None = None
    """Revision since which the numbers are right where ``processor_class`` is the tokenizer.

    Identities of such checkpoints keep it, so that their stores serve on. None is ``revision``.
    """

    def __post_init__(self) -> None:
        """Check what the class docstring promises."""
        for one, other in (("model_class", "load_model"), ("processor_class", "load_processing")):
            if (getattr(self, one) is None) == (getattr(self, other) is None):
                raise ValueError(f"family {self.model_type}: expected either {one} or {other}")
        unknown = sorted(set(self.poolings) - set(_POOLINGS) - set(self.pool_functions))
        if unknown or self.default_pooling not in self.poolings:
            pooling = unknown[0] if unknown else self.default_pooling
            raise ValueError(
                f"family {self.model_type}: "
                f"pooling {pooling} is neither built in nor in pool_functions"
            )


_HEADS = (
    "pooler",
    "cls",
    "classifier",
    "cls_classifier",
    "distillation_classifier",
    "qa_outputs",
    "lm_head",
    "head",
    "heads",
    "score",
    "linear",
    "projection",
    "fc_norm",
    "decoder",
    "encoder_to_decoder",
    "mask_token",
    "embeddings.mask_token",
    "embeddings.position_ids",
    "embeddings.token_type_ids",
)
"""Heads of published checkpoints, and what was masked in pre-training or kept by old releases."""

FAMILIES: Mapping[str, Family] = {
    family.model_type: family
    for family in (
        Family(
            model_type="bert",
            heads=_HEADS,
            modality=Modality.TEXT,
            model_class="BertModel",
            processor_class="BertTokenizer",
            special_count=1,
            default_pooling="cls",
            poolings=("cls", "mean"),
            has_pooler=True,
            final_norm="part of each block",
            # Revision 1 took every tokenizer for WordPiece, and was right where it was WordPiece.
            revision=2,
            own_tokenizer_revision=1,
        ),
        Family(
            model_type="vit",
            heads=_HEADS,
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
            heads=_HEADS,
            modality=Modality.AUDIO,
            model_class="ASTModel",
            processor_class="ASTFeatureExtractor",
            special_count=2,
            default_pooling="special",
            poolings=("special", "cls", "mean"),
        ),
        Family(
            model_type="videomae",
            heads=_HEADS,
            modality=Modality.VIDEO,
            model_class="VideoMAEModel",
            processor_class="VideoMAEImageProcessorPil",
        ),
        Family(
            model_type="vivit",
            heads=_HEADS,
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
"""The built-in families, by the ``model_type`` of a checkpoint's ``config.json``."""
