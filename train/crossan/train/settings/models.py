"""The settings of every kind of model, one small class each.

``model.kind`` says which class a run's ``model`` has. A package adds a kind of
its own by an entry point in the group ``crossan.models`` (see
`crossan.train.models.table`).
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from crossan.cache_schema.errors import ConfigError
from crossan.common.config import OneOf, Settings
from crossan.common.console import note
from crossan.common.plugins import load_plugin, plugin_names
from crossan.train.settings.paper import Paper

__all__ = [
    "FUSIONS_GROUP",
    "MODELS_GROUP",
    "MOMEF",
    "ContentSettings",
    "CrossanSettings",
    "FrozenSettings",
    "ModelSettings",
    "PopularitySettings",
    "SasrecSettings",
    "SequenceSettings",
    "kept_layers",
    "model_settings_classes",
    "upgraded_model",
]

FUSIONS_GROUP = "crossan.fusions"
"""Entry points by which other packages add fusions. The name is that of ``model.fusion``, the
target a `crossan.train.models.item_encoder.MakeFusion`."""
MOMEF = "momef"
"""Our own fusion."""
MODELS_GROUP = "crossan.models"
"""Entry points by which other packages add models: the name is the kind, the target a
`crossan.train.models.table.ModelEntry`."""


def _fusions() -> list[str]:
    return [MOMEF, *plugin_names(FUSIONS_GROUP)]


class ModelSettings(Settings):
    """What every kind of model has, which is its name."""

    kind: str
    """Name of the model."""

    reads_hidden_states: ClassVar[bool] = False
    """Whether a run of this kind reads stores of hidden states."""

    is_trained_by_steps: ClassVar[bool] = True
    """Whether weights are learned by steps; a model that only counts takes none."""


class SequenceSettings(ModelSettings):
    """Shape of the sequence encoder.

    The defaults are the paper's.
    """

    width: Annotated[int, Paper("64", "32, 64, 128")] = Field(default=64, ge=1)
    """Width of item and user vectors."""

    blocks: Annotated[int, Paper("2")] = Field(default=2, ge=1)
    """Transformer blocks of the sequence encoder."""

    heads: Annotated[int, Paper("2")] = Field(default=2, ge=1)
    """Attention heads of the sequence encoder."""

    dropout: Annotated[float, Paper("0.1")] = Field(default=0.1, ge=0.0, lt=1.0)
    """Dropout of the sequence encoder."""

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.width % self.heads:
            raise ValueError(
                f"expected width to be divisible by heads, got width {self.width} and"
                f" {self.heads} heads"
            )
        return self


class ContentSettings(SequenceSettings):
    """How item vectors are made of hidden states.

    The defaults are the paper's.
    """

    reads_hidden_states: ClassVar[bool] = True

    fusion: Annotated[str, OneOf(_fusions), Paper("momef")] = MOMEF
    """How the towers' outputs become one item vector. momef is Eq. 6; other packages may add
    fusions."""

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


class SasrecSettings(SequenceSettings):
    """SASRec over item ids, without content."""

    kind: Literal["sasrec"] = "sasrec"


class PopularitySettings(ModelSettings):
    """The most popular items for everybody."""

    kind: Literal["popularity"] = "popularity"

    is_trained_by_steps: ClassVar[bool] = False


_BUILT_IN: dict[str, type[ModelSettings]] = {
    one.model_fields["kind"].default: one
    for one in (CrossanSettings, FrozenSettings, SasrecSettings, PopularitySettings)
}


class _ModelClasses(Mapping[str, type[Settings]]):
    """The settings class of every kind.

    Those of other packages are loaded when they are asked for.
    """

    def __getitem__(self, kind: str) -> type[Settings]:
        if kind not in plugin_names(MODELS_GROUP):
            return _BUILT_IN[kind]
        settings = getattr(load_plugin(MODELS_GROUP, kind, _BUILT_IN), "settings", None)
        if not (isinstance(settings, type) and issubclass(settings, ModelSettings)):
            raise ConfigError(
                f"{MODELS_GROUP}: expected a ModelEntry with settings for the model '{kind}', a"
                f" subclass of ModelSettings, got {settings!r}"
            )
        if (named := settings.model_fields["kind"].default) != kind:
            raise ConfigError(
                f"{MODELS_GROUP}: expected the field 'kind' of {settings.__name__} to have the name"
                f" of its entry point, '{kind}', got {named!r}"
            )
        return settings

    def __contains__(self, kind: object) -> bool:
        # Without loading anything: a package that is broken must not hide that it is installed.
        return kind in _BUILT_IN or kind in plugin_names(MODELS_GROUP)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*_BUILT_IN, *plugin_names(MODELS_GROUP)]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def items(self) -> ItemsView[str, type[Settings]]:
        """Return the classes that can be loaded, by kind.

        A package that cannot be loaded is named, and breaks nothing but its own kinds.
        """
        return {kind: self[kind] for kind in self if _loads(kind)}.items()

    def values(self) -> ValuesView[type[Settings]]:
        """Return the classes that can be loaded."""
        return dict(self.items()).values()


@cache
def _loads(kind: str) -> bool:
    """Whether the settings class of a kind can be loaded.

    A package that cannot be loaded is named once, on stderr.
    """
    try:
        model_settings_classes()[kind]
    except ConfigError as error:
        note(f"left out: {error}")
        return False
    return True


def model_settings_classes() -> Mapping[str, type[Settings]]:
    """Return the settings class of every kind, ours first.

    Looking up a kind of another package loads that.

    Raises
    ------
    ConfigError
        On looking up a kind whose package cannot be loaded or offers no settings class.
    """
    return _ModelClasses()


def upgraded_model(values: dict[str, Any]) -> dict[str, Any]:
    """Return the ``model`` group of an earlier version under the names of today.

    Until November 2026 two flags chose the model: ``content=false`` was SASRec
    over ids, ``adapters=false`` the frozen features. A settings file of a run
    then named every setting, those too that its model never read.

    Raises
    ------
    ValueError
        Without content there were only the ids, and these were switched off; or the kind is given
        too, and is another than that of the flags.
    """
    if not {"content", "adapters"} & values.keys():
        return values
    has_content, has_adapters = values.pop("content", True), values.pop("adapters", True)
    kind: type[Settings] = CrossanSettings
    if has_content is False:
        if values.get("id_embedding") is False:
            raise ValueError("expected content, id_embedding or both, got neither")
        kind = SasrecSettings
    elif has_adapters is False:
        kind = FrozenSettings
    name = kind.model_fields["kind"].default
    if values.get("kind", name) != name:
        raise ValueError(
            f"expected model.kind={name}, which content and adapters stood for, or these left out,"
            f" got {values['kind']}"
        )
    if kind is CrossanSettings:
        return values
    read = {key: value for key, value in values.items() if key in kind.model_fields}
    return {**read, "kind": name}
