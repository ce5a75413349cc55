"""Every setting of a training run, closed and checked at the door."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from crossan.common.config import Settings

__all__ = ["ModelSettings"]


class ModelSettings(Settings):
    """Shape of the model; the defaults are the paper's."""

    bottleneck_dim: int = Field(512, ge=1)
    """Width of the side adapters; the paper searches 32 to 8192 and finds 512 best."""

    width: int = Field(64, ge=1)
    """Width of item and user vectors; the paper searches 32, 64, 128."""

    top_k: int = Field(2, ge=1, le=4)
    """Modalities MOMEF chooses per item (paper: 2 on MicroLens-100K, 3 on 50K). With 1 the router gets no gradient."""

    combine: Literal["sum", "concat"] = "sum"
    """How MOMEF joins the chosen experts: the sum of Eq. 6, or side by side (Table 4's parameter count)."""

    blocks: int = Field(2, ge=1)
    """Transformer blocks of the sequence encoder."""

    heads: int = Field(2, ge=1)
    """Attention heads of the sequence encoder."""

    dropout: float = Field(0.1, ge=0.0, lt=1.0)
    """Dropout of the sequence encoder."""

    layers: tuple[int, ...] | None = None
    """Kept layers to read from every store, lowest first; all of them where not given."""
