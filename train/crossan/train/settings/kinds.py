"""The table of the settings classes of models, by kind.

A package adds a kind of its own by an entry point in the group
``crossan.models`` (see `crossan.train.models.table`).
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from functools import cache

from crossan.cache_schema.errors import ConfigError
from crossan.common.config import Settings
from crossan.common.console import note
from crossan.common.plugins import load_plugin, plugin_names
from crossan.train.settings.content import (
    CrossanSettings,
    FrozenSettings,
    IisanESettings,
    IisanSettings,
    IndsanSettings,
)
from crossan.train.settings.counting import (
    BigramSettings,
    HybridSettings,
    ItemKnnSettings,
    MarkovSettings,
    TitleKnnSettings,
)
from crossan.train.settings.graphs import (
    Bm3Settings,
    FreedomSettings,
    GrcnSettings,
    MgcnSettings,
    MhcrSettings,
    MmgcnSettings,
)
from crossan.train.settings.hybrid_of_runs import HybridOfRunsSettings
from crossan.train.settings.models import ModelSettings, PopularitySettings, SasrecSettings
from crossan.train.settings.triples import VbprSettings
from crossan.train.settings.tuned import FineTunedSettings

__all__ = ["MODELS_GROUP", "is_built_in", "model_settings_classes"]

MODELS_GROUP = "crossan.models"
"""Entry points by which other packages add models: the name is the kind, the target a
`crossan.train.models.table.ModelEntry`."""


_BUILT_IN: dict[str, type[ModelSettings]] = {
    one.model_fields["kind"].default: one
    for one in (
        CrossanSettings,
        IndsanSettings,
        IisanSettings,
        IisanESettings,
        FrozenSettings,
        FineTunedSettings,
        SasrecSettings,
        PopularitySettings,
        BigramSettings,
        MarkovSettings,
        ItemKnnSettings,
        TitleKnnSettings,
        HybridSettings,
        HybridOfRunsSettings,
        VbprSettings,
        MmgcnSettings,
        GrcnSettings,
        Bm3Settings,
        FreedomSettings,
        MgcnSettings,
        MhcrSettings,
    )
}


def is_built_in(settings: ModelSettings) -> bool:
    """Return whether a model is one of our own."""
    return _BUILT_IN.get(settings.kind) is type(settings)


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
