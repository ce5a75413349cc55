"""Beginning from the weights of an earlier run, on data that has moved on: ``crossan-train --init RUN``.

Nothing in the model belongs to a user, and what belongs to an item
(``model.id_embedding``) follows its item id, so new ones are no obstacle.
What the weights mean is fixed by the stores' fingerprints, the kept layers and
the shape of the model: these must be the same. The optimiser, the popularity
of items and the count of epochs begin anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from crossan.cache_schema.errors import IncompatibleError
from crossan.train.models.recommender import item_rows_of
from crossan.train.record.catalogue_lock import carry_item_rows, read_catalogue
from crossan.train.record.checkpoint import load_weights
from crossan.train.record.run_folder import RunFolder
from crossan.train.settings import RunSettings

__all__ = ["load_initial_weights", "require_carried_over"]

_SHAPELESS = {"compute", "dropout", "layers"}
"""Model settings that no weight depends on; the layers are compared store by store."""


def require_carried_over(
    settings: RunSettings, stores: Mapping[str, Mapping[str, Any]], init: Path
) -> None:
    """Make sure that the weights of a run mean the same to another.

    Parameters
    ----------
    settings
        Those of the run that begins.
    stores
        Its stores as `RunFolder.lock` gives them, under ``"stores"``.
    init
        Folder of the run to begin from.

    Raises
    ------
    IncompatibleError
        Something that gives the weights their meaning differs; all of it is named.
    UsageError
        No run lies there.
    """
    folder = RunFolder(init)
    there, here = _facts(folder.settings(), folder.lock()["stores"]), _facts(settings, stores)
    differing = [name for name in here if name in there and there[name] != here[name]]
    if differing:
        listed = "\n  ".join(
            f"{name}: {there[name]} there, {here[name]} here" for name in differing
        )
        raise IncompatibleError(
            f"--init {init}: its weights cannot be carried over\n  {listed}",
            remedy="Make these the same, or leave --init out: training then begins with random weights",
        )


def load_initial_weights(
    model: nn.Module, init: Path, run: RunFolder, item_ids: np.ndarray
) -> None:
    """Put a run's best weights into the model and record in ``init.json`` which they were.

    Parameters
    ----------
    model
        Where they go; the own vectors of new items stay as they are in it.
    init
        Folder of the run they come from.
    run
        Folder of the run that begins.
    item_ids
        Its catalogue, ``(items,)``.

    Raises
    ------
    IncompatibleError
        The run was begun from other weights than lie there now, or they do not fit.
    UsageError, StoreIntegrityError
        There are none, or they are damaged.
    """
    best = RunFolder(init).best_checkpoint()
    facts = {
        "run": str(init),
        "epoch": best.state["epoch"],
        "sha256": best.sha256["model.safetensors"],
    }
    recorded = run.initial()
    if recorded is not None and recorded["sha256"] != facts["sha256"]:
        raise IncompatibleError(
            f"--init {init}: the run was begun from the weights {recorded['sha256'][:12]} of epoch {recorded['epoch']} there,"
            f" found {facts['sha256'][:12]} of epoch {facts['epoch']}",
            remedy=f"Begin another run with another --out than {run.path}",
        )
    weights = best.tensors["model"]
    if rows := item_rows_of(model):
        initial = {name: model.state_dict()[name] for name in rows}
        weights = carry_item_rows(weights, read_catalogue(init), initial, item_ids)
    load_weights(model, weights, f"--init {init}")
    run.write_initial(facts)


def _facts(settings: RunSettings, stores: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return what gives the weights their meaning, by the names the user knows."""
    facts = {"modalities": ", ".join(stores)}
    for name, entry in stores.items():
        facts[f"{name}, kept layers"] = ", ".join(map(str, entry["layers"]))
        facts[f"{name}, width of hidden states"] = str(entry["dim"])
        facts[f"{name}, fingerprint"] = entry["fingerprint"][:12]
    model = settings.model.model_dump(mode="json")
    if model.get("combine") == "sum":
        del model["top_k"]  # how many experts are summed changes no shape
    facts |= {
        f"model.{name}": str(value) for name, value in model.items() if name not in _SHAPELESS
    }
    facts["data.max_items"] = str(settings.data.max_items)
    return facts
