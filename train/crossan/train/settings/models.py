"""The settings of a model, one class for each kind."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from crossan.common.config import Settings

__all__ = ["ModelSettings"]


class ModelSettings(Settings):
    """Shape of the model; the defaults are the paper's."""

    bottleneck_dim: int = Field(default=512, ge=1)
    """Width of the side adapters; the paper searches 32 to 8192 and finds 512 best."""

    width: int = Field(default=64, ge=1)
    """Width of item and user vectors; the paper searches 32, 64, 128."""

    top_k: int = Field(default=2, ge=1, le=4)
    """Modalities MOMEF chooses per item (paper: 2 on MicroLens-100K, 3 on 50K). With 1 the router gets no gradient."""

    combine: Literal["sum", "concat"] = "sum"
    """How MOMEF joins the chosen experts: the sum of Eq. 6, or side by side (Table 4's parameter count)."""

    blocks: int = Field(default=2, ge=1)
    """Transformer blocks of the sequence encoder."""

    heads: int = Field(default=2, ge=1)
    """Attention heads of the sequence encoder."""

    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Dropout of the sequence encoder."""

    layers: tuple[int, ...] | None = None
    """Kept layers to read from every store, lowest first; all of them where not given."""

    content: bool = True
    """Whether items are encoded from their hidden states; without, no store is read and items are their ids alone."""

    adapters: bool = True
    """Whether side adapters climb the kept layers (Eq. 5); without, the heads read the highest of them as it is."""

    id_embedding: bool = False
    """Whether an item vector has a learned vector of its item added (`crossan.train.layers.id_embedding`)."""

    compute: Literal["float32", "bfloat16", "auto"] = "float32"
    """What the side adapters' projections are computed in while weights, mix and gradients stay float32. bfloat16 is
    several times faster where the hardware multiplies it (AMX, GPUs) and slower elsewhere; auto tries both for a
    moment and takes the faster."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.width % self.heads:
            raise ValueError(
                f"expected width to be divisible by heads, got width {self.width} and {self.heads} heads"
            )
        if not self.content and not self.id_embedding:
            raise ValueError("expected content, id_embedding or both, got neither")
        if self.layers is not None and (
            not self.layers
            or list(self.layers) != sorted({number for number in self.layers if number >= 0})
        ):
            raise ValueError(
                f"expected layers as distinct numbers from 0, lowest first, got {list(self.layers)}"
            )
        return self
