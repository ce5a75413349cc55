"""What gives the weights of a run their meaning, from its settings and the stores it recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossan.train.settings.content import MOMEF
from crossan.train.settings.run import RunSettings

__all__ = ["differing_facts"]

Stores = Mapping[str, Mapping[str, Any]]
"""Entries of ``cache.lock.json`` by modality."""

_SHAPELESS = {"compute", "dropout", "id_dropout", "layers"}
"""Model settings that no weight depends on.

Layers are among them because they are compared store by store.
"""


def differing_facts(
    before: RunSettings, stores_before: Stores, now: RunSettings, stores_now: Stores
) -> list[str]:
    """Return in which facts two runs differ, so that the weights of one mean nothing in the other.

    Parameters
    ----------
    before, stores_before
        The run that has the weights.
    now, stores_now
        The run that would begin from them.
    """
    theirs, ours = _facts(before, stores_before), _facts(now, stores_now)
    return [
        f"{name}: {theirs[name]} in that run, {ours[name]} in this one"
        for name in ours
        if name in theirs and theirs[name] != ours[name]
    ]


def _facts(settings: RunSettings, stores: Stores) -> dict[str, str]:
    """Return what gives the weights their meaning, by the names that users know."""
    facts = {"modalities": ", ".join(stores) or "none"}
    for name, entry in stores.items():
        facts[f"{name}, kept layers"] = ", ".join(map(str, entry["layers"]))
        facts[f"{name}, width of hidden states"] = str(entry["dim"])
        facts[f"{name}, fingerprint"] = entry["fingerprint"][:12]
    model = settings.model.model_dump(mode="json")
    unread = set(_SHAPELESS)
    if model.get("fusion", MOMEF) != MOMEF:
        unread |= {"top_k", "combine"}
    # The number of experts that are summed changes no shape; of those side by side, it does.
    if model.get("combine") == "sum":
        unread |= {"top_k"}
    facts |= {f"model.{name}": str(value) for name, value in model.items() if name not in unread}
    facts["features.standardise"] = settings.features.standardise
    facts["data.max_items"] = str(settings.data.max_items)
    return facts
