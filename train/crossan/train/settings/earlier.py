"""Settings of earlier versions under the names, and beside the defaults, of today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossan.common.config import Settings
from crossan.train.settings.content import CrossanSettings, FrozenSettings
from crossan.train.settings.models import SasrecSettings
from crossan.train.settings.run_defaults import with_default

__all__ = ["upgraded_model", "with_earlier_defaults"]

_IN_EVERY_RECORD = {
    *("batch_size", "max_epochs", "patience", "seed", "mask_history", "reference"),
    *("data", "model", "objective", "optimiser", "features", "checkpoint"),
}
"""What the recorded settings of a run have named in every version."""

_BEFORE_THEY_WERE_SETTINGS: Mapping[str, object] = {
    "average_epochs": 1,
    "objective.debias": "all",
    "features.standardise": "none",
}
"""How runs were trained before these were settings, where the defaults of today are others."""


def with_earlier_defaults(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a source's values, those of a recorded run with what was not a setting then.

    A run folder's ``config.toml`` names every setting of its version. One that is
    missing in it came later, and the run was trained as if there was none.
    """
    if tree.keys() >= _IN_EVERY_RECORD:
        for name, value in _BEFORE_THEY_WERE_SETTINGS.items():
            tree = with_default(tree, name.split("."), value)
    return tree


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
