"""What a training reads and begins from, settled once and kept for all its attempts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossan.cache_schema import Modality
from crossan.common.config import load_settings, to_toml
from crossan.common.files import replace_durably
from crossan.common.refusals import make_folder
from crossan.train.service.nights.datasets import DatasetPlace
from crossan.train.service.nights.stores import StoreSighting, stores_to_read
from crossan.train.service.registry import Model
from crossan.train.service.settings import ServiceSettings
from crossan.train.service.specs import RunSpec
from crossan.train.settings import RunSettings
from crossan.train.settings.meaning import differing_facts
from crossan.train.settings.models import layers_read

__all__ = ["TrainingPlan", "keep_plan", "kept_plan", "settle"]

_CONFIG = "settings.toml"
_NOTES = "training.json"
Stores = Mapping[Modality, tuple[StoreSighting, int]]


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What is decided before the first attempt, and never anew."""

    config: Path
    """All settings, as a file."""

    init: Path | None
    """Run folder of a model whose weights it begins from."""

    notes: Mapping[str, Any]
    """What the run's result says of this."""


def kept_plan(folder: Path) -> TrainingPlan | None:
    """Return what an earlier attempt decided, None where this is the first.

    Parameters
    ----------
    folder
        That of the run in the queue.
    """
    try:
        kept = json.loads((folder / _NOTES).read_bytes())
    except FileNotFoundError:
        return None
    init = kept["init"]
    return TrainingPlan(folder / _CONFIG, None if init is None else Path(init), kept["notes"])


def keep_plan(
    folder: Path, settings: RunSettings, init: Path | None, notes: Mapping[str, Any]
) -> TrainingPlan:
    """Write what was decided, the notes last, and return it."""
    make_folder(folder)
    replace_durably(folder / _CONFIG, to_toml(settings).encode())
    kept = {"init": None if init is None else str(init), "notes": dict(notes)}
    replace_durably(folder / _NOTES, json.dumps(kept).encode())
    return TrainingPlan(folder / _CONFIG, init, notes)


def settle(
    folder: Path,
    spec: RunSpec,
    checked: RunSettings,
    dataset: DatasetPlace,
    service: ServiceSettings,
    production: Model | None,
) -> TrainingPlan:
    """Decide which versions of stores a training reads and what it begins from, and keep that.

    Parameters
    ----------
    folder
        That of the run in the queue.
    spec, checked
        What a client sent, and the settings that come of it.
    dataset, service
        What it is trained on, and the operator's settings.
    production
        The model whose weights it is to begin from where these fit, None for random weights.

    Raises
    ------
    UsageError
        A store is missing, or there are several to choose from.
    """
    stores: Stores = {}
    if checked.model.reads_hidden_states:
        name = dataset.description.name
        stores = stores_to_read(spec.stores, checked.data.modality, service, name)
        pinned = tuple(f"{store.path}@{version}" for store, version in stores.values())
        changes = {"store": pinned, "modality": tuple(stores)}
        if stores:
            checked = checked.model_copy(update={"data": checked.data.model_copy(update=changes)})
    init, note = None, ""
    if production is not None:
        note = _why_not(production, checked, stores)
        init = None if note else production.judged_run
    notes = {
        "stores": {
            modality.value: {"fingerprint": store.fingerprint, "version": version}
            for modality, (store, version) in stores.items()
        },
        "init": None if init is None or production is None else production.version,
        **({"init_note": note} if note else {}),
    }
    return keep_plan(folder, checked, init, notes)


def _why_not(production: Model, checked: RunSettings, stores: Stores) -> str:
    """Return why training cannot begin from a model's weights, nothing where it can."""
    if not checked.model.is_trained_by_steps or checked.model.learns_from == "triples":
        return f"model.kind={checked.model.kind} begins from no weights"
    run = production.judged_run
    before = load_settings(RunSettings, files=[run / "config.toml"], environment={})
    try:
        entries = json.loads((run / "cache.lock.json").read_bytes())["stores"]
    except FileNotFoundError:
        entries = {}  # a model that reads no stores
    layers = checked.model.kept_layers()
    now = {
        modality.value: {
            "layers": list(layers_read(store.identity.layers, layers)),
            "dim": store.identity.dim,
            "fingerprint": store.fingerprint,
        }
        for modality, (store, _) in stores.items()
    }
    differing = differing_facts(before, entries, checked, now)
    if not differing:
        return ""
    return f"the weights of model {production.version} do not fit: {'; '.join(differing)}"
