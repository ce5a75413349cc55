"""The settings of the kinds that make item vectors of hidden states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from crossan.common.config import OneOf
from crossan.common.plugins import plugin_names
from crossan.train.settings.models import (
    ChosenSettings,
    LayersRead,
    ModelSettings,
    SequenceSettings,
)
from crossan.train.settings.paper import Paper

__all__ = [
    "FUSIONS",
    "FUSIONS_GROUP",
    "MOMEF",
    "AdapterSettings",
    "ChosenAdapterSettings",
    "ChosenContentSettings",
    "ContentSettings",
    "CrossanSettings",
    "FrozenSettings",
    "HiddenStateSettings",
    "IisanESettings",
    "IisanSettings",
    "IndsanSettings",
    "InterModalSettings",
    "gate_temperature",
]

FUSIONS_GROUP = "crossan.fusions"
"""Entry points by which other packages add fusions. The name is that of ``model.fusion``, the
target a `crossan.train.models.item_encoder.MakeFusion`."""
MOMEF = "momef"
"""The paper's fusion."""
FUSIONS = (MOMEF, "dynamic-gate", "static-gate", "concat")
"""Our own fusions, those of Table 5."""


def _fusions() -> list[str]:
    return list(dict.fromkeys([*FUSIONS, *plugin_names(FUSIONS_GROUP)]))


class HiddenStateSettings(SequenceSettings):
    """What is read of the stores, and whether ids are added.

    The defaults are the paper's.
    """

    reads_hidden_states: ClassVar[bool] = True

    layers: Annotated[tuple[int, ...] | None, Paper("[0, 2, 4, 6, 8, 10, 12]")] = None
    """Kept layers to read from every store, lowest first. By default all of them."""

    id_embedding: bool = False
    """Whether an item vector has a learned vector of its item added."""

    id_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Probability that a step leaves out the learned vector of an item as a whole, so that its
    content alone must do, as it must for an item that nobody had in training."""

    def kept_layers(self) -> LayersRead:
        """Return which of a store's kept layers are read."""
        return self.layers

    @model_validator(mode="after")
    def _drops_what_is_there(self) -> Self:
        if self.id_dropout and not self.id_embedding:
            raise ValueError(
                f"expected id_embedding with id_dropout, got id_dropout {self.id_dropout:g} without"
            )
        return self

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


class ContentSettings(HiddenStateSettings):
    """How item vectors are made of the outputs of towers.

    The defaults are the paper's.
    """

    fusion: Annotated[
        str, OneOf(_fusions, may_be_code=True), Paper("momef, beside the others in Table 5")
    ] = MOMEF
    """How the towers' outputs become one item vector. momef is Eq. 6; dynamic-gate weighs the
    modalities of each item by a linear layer, static-gate those of all items by one gate each;
    concat lays the outputs side by side through a linear layer. Other packages may add fusions, and
    ``package.module:Name`` is one of your own."""

    top_k: Annotated[int, Paper("2 on MicroLens-100K, 3 on 50K", "1 to 4")] = Field(default=2, ge=1)
    """Towers that MOMEF chooses per item, at most as many as there are: one for each modality, or
    for each store where several are of one. A lone tower is chosen by the default, too. With 1 the
    router gets no gradient. Read by `fusion=momef` alone."""

    combine: Annotated[Literal["sum", "concat"], Paper("sum in Eq. 6, concat in Table 4")] = "sum"
    """How MOMEF joins the chosen experts: their sum, or side by side through a linear layer. Read
    by `fusion=momef` alone."""


class AdapterSettings(HiddenStateSettings):
    """Side adapters and the gates before them.

    The defaults are the paper's.
    """

    bottleneck_dim: Annotated[int, Paper("512", "32 to 8192")] = Field(default=512, ge=1)
    """Width of the side adapters."""

    compute: Literal["float32", "bfloat16", "auto"] = "float32"
    """What the side adapters compute and hand from layer to layer, while weights, their gradients
    and all that follows stay float32. bfloat16 is several times faster where the hardware
    multiplies it (AMX, GPUs) and slower elsewhere. auto tries both for a moment and takes the
    faster."""

    gate_temperature: float = Field(default=1.0, gt=0)
    """What the gates' logits are divided by before the softmax. At 1 the gates of a run hardly
    leave their even start; 0.1, as in IISAN's code, lets them spread."""


def gate_temperature(model: ModelSettings) -> float:
    """Return what a model's gate logits are divided by, 1 where it has no such setting."""
    return model.gate_temperature if isinstance(model, AdapterSettings) else 1.0


class ChosenContentSettings(ChosenSettings, ContentSettings):
    """How hidden states and ids are trained together, as validation chose it."""

    run_defaults: ClassVar[Mapping[str, Any]] = {
        **ChosenSettings.run_defaults,
        "optimiser.adapter_lr": 3e-3,
        "optimiser.id_lr": 3e-4,
        "features.standardise": "layer",
    }


class ChosenAdapterSettings(ChosenContentSettings, AdapterSettings):
    """The same of kinds with side adapters."""

    bottleneck_dim: Annotated[int, Paper("512", "32 to 8192")] = Field(default=256, ge=1)
    """Width of the side adapters."""


class CrossanSettings(ChosenAdapterSettings):
    """The paper's model of cross-modal side adapters (Eq. 5) and MOMEF (Eq. 6)."""

    kind: Literal["crossan"] = "crossan"


class IndsanSettings(ChosenAdapterSettings):
    """CROSSAN without cross-modal terms, each side adapter on its own (Table 6)."""

    kind: Literal["indsan"] = "indsan"


class InterModalSettings(AdapterSettings):
    """What IISAN and its extension share, with the defaults of IISAN's code."""

    activation: Literal["gelu", "relu"] = "relu"
    """Activation of the sequence encoder's feed-forward nets and of side adapters, relu as in
    IISAN's code."""

    gate_temperature: float = Field(default=0.1, gt=0)
    """What the gates' numbers are divided by before sigmoid and softmax, 0.1 as in IISAN's
    code."""


class IisanSettings(InterModalSettings):
    """IISAN as its code runs it, over two modalities with a tower between them."""

    kind: Literal["iisan"] = "iisan"


class IisanESettings(InterModalSettings):
    """IISAN for any number of modalities, as the paper extends it (section 6.1)."""

    kind: Literal["iisan-e"] = "iisan-e"


class FrozenSettings(ChosenContentSettings):
    """The highest kept hidden state as it is, without side adapters."""

    kind: Literal["frozen"] = "frozen"
