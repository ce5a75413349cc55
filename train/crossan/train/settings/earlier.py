"""Settings of earlier versions under the names of today."""

from __future__ import annotations

from typing import Any

from crossan.common.config import Settings
from crossan.train.settings.content import CrossanSettings, FrozenSettings
from crossan.train.settings.models import SasrecSettings

__all__ = ["upgraded_model"]


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
