"""The settings of the kind whose backbones are trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from crossan.cache_schema.modality import Modality
from crossan.train.settings.models import SequenceSettings
from crossan.train.settings.paper import Paper

__all__ = ["PAPERS_MODALITIES", "FineTunedSettings", "Tuning"]

Tuning = Literal["full", "adapter", "lora"]
"""What is trained of a backbone."""

PAPERS_MODALITIES = (Modality.TEXT, Modality.IMAGE)
"""What the paper's end-to-end rows read."""


class FineTunedSettings(SequenceSettings):
    """Backbones inside the step, whole or by small modules within (Tables 3 and 4).

    The defaults are those of IISAN's code, which the paper's rows were run with.
    """

    kind: Literal["fine-tuned"] = "fine-tuned"

    reads_media: ClassVar[bool] = True

    run_defaults: ClassVar[Mapping[str, Any]] = {
        "batch_size": 32,
        "optimiser.lr": 2e-4,
        "optimiser.adapter_lr": 4e-4,
        "optimiser.weight_decay": 0.0,
    }

    tuning: Annotated[Tuning, Paper("one row each")] = "adapter"
    """What is trained of a backbone. full is all of it; adapter a bottleneck that ends the
    attention and the feed-forward net of each block; lora a low-rank pair beside the weights of
    queries and values, and their biases."""

    bottleneck_dim: Annotated[int, Paper("512")] = Field(default=512, ge=1)
    """Width of the bottlenecks of tuning=adapter."""

    rank: Annotated[int, Paper("512")] = Field(default=512, ge=1)
    """Width of the low-rank pairs of tuning=lora."""

    alpha: float = Field(default=1.0, gt=0)
    """Scale of a low-rank pair times its rank, 1 as in IISAN's code."""

    published_lora: bool = False
    """Whether tuning=lora drops the pretrained weights of queries and values, as IISAN's code does:
    random ones take their place and stay. To reproduce its rows and for nothing else."""

    text: Annotated[str | None, Paper("bert-base")] = None
    """Backbone of titles: preset name, hub id or folder. By default the paper's."""

    image: Annotated[str | None, Paper("vit-base")] = None
    """Backbone of pictures."""

    video: str | None = None
    """Backbone of videos."""

    audio: str | None = None
    """Backbone of sounds."""

    max_length: int | None = Field(default=30, ge=2)
    """Most tokens of a title, 30 as in IISAN's code."""

    chunk_size: int = Field(default=64, ge=1)
    """Items that are encoded at a time. It bounds the memory of a step, and changes no number
    but by rounding and the order in which dropout is drawn."""

    compute: Literal["float32", "bfloat16", "auto"] = "auto"
    """What backbones are computed in, while their weights stay float32. auto is bfloat16 on an
    accelerator and float32 elsewhere."""

    activation: Literal["gelu", "relu"] = "relu"
    """Activation of the sequence encoder's feed-forward nets and of bottlenecks, relu as in IISAN's
    code."""

    def backbone_of(self, modality: Modality) -> str | None:
        """Return the backbone that reads a modality, None for the paper's."""
        source: str | None = getattr(self, modality.value)
        return source

    def anywhere(self) -> Self:
        """Return a copy with absolute paths of backbones that are folders."""
        named = {modality.value: self.backbone_of(modality) for modality in Modality}
        folders = {
            name: str(Path(source).absolute())
            for name, source in named.items()
            if source is not None and Path(source).is_dir()
        }
        return self.model_copy(update=folders)

    @model_validator(mode="after")
    def _publishes_what_it_tunes(self) -> Self:
        if self.published_lora and self.tuning != "lora":
            raise ValueError(f"expected tuning=lora with published_lora, got {self.tuning}")
        return self
