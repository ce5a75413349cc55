"""The settings of the kinds that make item vectors of hidden states."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from crossan.common.config import OneOf
from crossan.common.plugins import plugin_names
from crossan.train.settings.models import ModelSettings, SequenceSettings
from crossan.train.settings.paper import Paper

__all__ = [
    "FUSIONS_GROUP",
    "MOMEF",
    "ContentSettings",
    "CrossanSettings",
    "FrozenSettings",
    "kept_layers",
]

FUSIONS_GROUP = "crossan.fusions"
"""Entry points by which other packages add fusions. The name is that of ``model.fusion``, the
target a `crossan.train.models.item_encoder.MakeFusion`."""
MOMEF = "momef"
"""Our own fusion."""


def _fusions() -> list[str]:
    return [MOMEF, *plugin_names(FUSIONS_GROUP)]


class ContentSettings(SequenceSettings):
    """How item vectors are made of hidden states.

    The defaults are the paper's.
    """

    reads_hidden_states: ClassVar[bool] = True

    fusion: Annotated[str, OneOf(_fusions, may_be_code=True), Paper("momef")] = MOMEF
    """How the towers' outputs become one item vector. momef is Eq. 6; other packages may add
    fusions, and ``package.module:Name`` is one of your own."""

    top_k: Annotated[int, Paper("2 on MicroLens-100K, 3 on 50K", "1 to 4")] = Field(
        default=2, ge=1, le=4
    )
    """Modalities MOMEF chooses per item. With 1 the router gets no gradient."""

    combine: Annotated[Literal["sum", "concat"], Paper("sum in Eq. 6, concat in Table 4")] = "sum"
    """How MOMEF joins the chosen experts: their sum, or side by side through a linear layer."""

    layers: Annotated[tuple[int, ...] | None, Paper("[0, 2, 4, 6, 8, 10, 12]")] = None
    """Kept layers to read from every store, lowest first. By default all of them."""

    id_embedding: bool = False
    """Whether an item vector has a learned vector of its item added."""

    @model_validator(mode="after")
    def _layers_ascend(self) -> Self:
        if self.layers is None:
            return self
        distinct = sorted({number for number in self.layers if number >= 0})
        if not self.layers or list(self.layers) != distinct:
            raise ValueError(
                f"expected layers as distinct numbers from 0, lowest first, got {list(self.layers)}"
            )
        return self


def kept_layers(model: ModelSettings) -> tuple[int, ...] | None:
    """Return the layers that a model reads of every store, None for all that it keeps."""
    return model.layers if isinstance(model, ContentSettings) else None


class CrossanSettings(ContentSettings):
    """The paper's model of cross-modal side adapters (Eq. 5) and MOMEF (Eq. 6)."""

    kind: Literal["crossan"] = "crossan"

    bottleneck_dim: Annotated[int, Paper("512", "32 to 8192")] = Field(default=512, ge=1)
    """Width of the side adapters."""

    compute: Literal["float32", "bfloat16", "auto"] = "float32"
    """What the side adapters' projections are computed in, while weights, mix and gradients stay
    float32. bfloat16 is several times faster where the hardware multiplies it (AMX, GPUs) and
    slower elsewhere. auto tries both for a moment and takes the faster."""


class FrozenSettings(ContentSettings):
    """The highest kept hidden state as it is, without side adapters."""

    kind: Literal["frozen"] = "frozen"
