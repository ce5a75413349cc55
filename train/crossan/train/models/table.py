"""The table of models by their kinds.

A model is added by a file in this folder, a settings class in
`crossan.train.settings`, listed in its `kinds`, and a line here. Another package adds one by an
entry point in the group ``crossan.models``, named as the kind, whose target is
a `ModelEntry`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from crossan.cache_schema.errors import ConfigError
from crossan.common.plugins import load_plugin, plugin_names
from crossan.train.settings.kinds import MODELS_GROUP, model_settings_classes
from crossan.train.settings.models import ModelSettings

if TYPE_CHECKING:
    from torch import nn

    from crossan.train.models.recommender import ModelContext

__all__ = ["ModelEntry", "build_model", "model_kinds"]

_BUILDERS = {
    "crossan": "crossan.train.models.crossan:build",
    "indsan": "crossan.train.models.indsan:build",
    "iisan": "crossan.train.models.iisan:build",
    "iisan-e": "crossan.train.models.iisan_e:build",
    "frozen": "crossan.train.models.frozen:build",
    "fine-tuned": "crossan.train.models.fine_tuned:build",
    "sasrec": "crossan.train.models.sasrec:build",
    "popularity": "crossan.train.models.popularity:build",
    "bigram": "crossan.train.models.bigram:build",
    "markov": "crossan.train.models.markov:build",
    "item-knn": "crossan.train.models.item_knn:build",
    "title-knn": "crossan.train.models.title_knn:build",
    "hybrid": "crossan.train.models.hybrid:build",
    "hybrid-of-runs": "crossan.train.models.hybrid_of_runs:build",
    "vbpr": "crossan.train.models.vbpr:build",
    "mmgcn": "crossan.train.models.mmgcn:build",
    "grcn": "crossan.train.models.grcn:build",
    "bm3": "crossan.train.models.bm3:build",
    "freedom": "crossan.train.models.freedom:build",
    "mgcn": "crossan.train.models.mgcn:build",
    "mhcr": "crossan.train.models.mhcr:build",
}


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model that another package adds."""

    settings: type[ModelSettings]
    """Its settings; the field ``kind`` is a `Literal` of the entry point's name."""

    build: str
    """``package.module:function``, imported when a run builds the model. The function takes these
    settings and a `ModelContext` and returns the model with random weights, a `SequenceModel` or
    an `nn.Module` that is a `CountingModel` or a `TableModel`. Text, so that settings are read
    without torch."""


def model_kinds() -> list[str]:
    """Return the name of every kind."""
    return list(model_settings_classes())


def build_model(settings: ModelSettings, context: ModelContext) -> nn.Module:
    """Build the model of a run with random weights.

    Raises
    ------
    ConfigError
        The package that brings the kind offers nothing that can be built, or what it builds cannot
        be trained or ranked.
    """
    from torch import nn

    from crossan.train.models.hybrid_of_runs import HybridOfRuns
    from crossan.train.models.recommender import CountingModel, TableModel
    from crossan.train.models.sequence_model import SequenceModel

    model = _builder(settings.kind)(settings, context)
    if not isinstance(model, nn.Module) or not isinstance(
        model, SequenceModel | CountingModel | TableModel | HybridOfRuns
    ):
        raise ConfigError(
            f"{MODELS_GROUP}: expected the model '{settings.kind}' to be a SequenceModel, or an"
            f" nn.Module that is a CountingModel or a TableModel, got one of {type(model).__name__}"
        )
    return model


def _builder(kind: str) -> Callable[[Any, ModelContext], nn.Module]:
    target = _BUILDERS.get(kind)
    if kind in plugin_names(MODELS_GROUP):
        target = getattr(load_plugin(MODELS_GROUP, kind, _BUILDERS), "build", None)
    module, _, function = str(target).partition(":")
    try:
        builder: Callable[[Any, ModelContext], nn.Module] = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{MODELS_GROUP}: expected the model '{kind}' to be built by 'package.module:function',"
            f" got {target!r}: {error}"
        ) from error
    return builder
