"""The finished runs that a hybrid is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import IncompatibleError, UsageError
from crossan.common.config import Base, dotted
from crossan.train.record.dataset_lock import changed_sequences
from crossan.train.record.refits import require_figures
from crossan.train.record.run_folder import RunFolder
from crossan.train.record.statistics import read_statistics, statistics_digest
from crossan.train.settings import (
    BaseRunSettings,
    HybridOfRunsSettings,
    RunSettings,
    SequenceSettings,
)
from crossan.train.settings.tower import modality_of

__all__ = ["require_same_runs", "settings_of_runs"]

_KIND = "hybrid-of-runs"
_SHARED = ("max_items", "min_items", "split", "split_seed", "drop_items")
"""Settings of ``data`` that runs of one hybrid share, paths and stores aside."""


def settings_of_runs(paths: Sequence[Path], cache: Path | None) -> Base:
    """Return the settings that a hybrid takes over from its runs.

    They read the same dataset, and the same stores at the versions that the runs
    recorded, by the same protocol.

    Parameters
    ----------
    paths
        The run folders.
    cache
        Where the stores lie now, None for where they were.

    Raises
    ------
    UsageError
        One of them is no finished run, or its model makes no vectors of histories.
    IncompatibleError
        A store is not the one that was recorded.
    """
    folders = [RunFolder(path) for path in paths]
    of = [_base_run(folder) for folder in folders]
    # Of those that read content, if any does, as it says where.
    first = next((n for n, base in enumerate(of) if base.model.reads_hidden_states), 0)
    settings, folder = folders[first].settings(), folders[first]
    values = {
        f"data.{name}": value
        for name, value in dotted(settings.data.model_dump(mode="json"))
        if value is not None and name not in {"cache", "store", "modality"}
    }
    if of[first].model.reads_hidden_states:
        stores = folder.locked_stores(cache)
        if stores is None:
            raise _unfinished(folder)
        values["data.cache"] = str(cache) if cache else settings.data.cache
        values["data.store"] = [
            f"{store.path.absolute()}@{store.version}" for store in stores.values()
        ]
        # Of two stores of one modality each is a tower, and the modality is read once.
        values["data.modality"] = list(dict.fromkeys(modality_of(tower).value for tower in stores))
        values |= {
            f"features.{name}": value
            for name, value in settings.features.model_dump(mode="json").items()
            if value is not None
        }
    values |= {"mask_history": settings.mask_history, "select_by": settings.select_by}
    values |= {"seed": settings.seed, "model.kind": _KIND}
    values["model.of"] = [base.model_dump(mode="json", serialize_as_any=True) for base in of]
    return Base("--of", values)


def require_same_runs(
    settings: RunSettings,
    entries: Mapping[str, Mapping[str, Any]],
    facts: Mapping[str, int | str],
) -> None:
    """Refuse runs that were trained on other data than a hybrid, or by another protocol.

    Parameters
    ----------
    settings
        The hybrid's.
    entries
        What its ``cache.lock.json`` will say of its stores.
    facts
        What its ``dataset.lock.json`` will say of its sequences.

    Raises
    ------
    UsageError
        A run is not finished, or is a refit.
    IncompatibleError
        Some differ; every difference is named.
    """
    model = settings.model
    assert isinstance(model, HybridOfRunsSettings)  # by its kind
    lines = []
    standardised_by = set()
    for base in model.of:
        folder = RunFolder(Path(base.run))
        _require_judged(folder)
        lines += [f"{base.run}: {line}" for line in _differences(folder, settings, entries, facts)]
        if base.model.reads_hidden_states:
            standardised_by.add(statistics_digest(read_statistics(folder.path) or {}))
    if len(standardised_by) > 1:
        lines.append("the layers were standardised by other statistics in some of the runs")
    layers = {str(base.model.kept_layers()) for base in model.of if base.model.reads_hidden_states}
    if len(layers) > 1:
        lines.append(f"model.layers: expected the same of all runs, found {', '.join(layers)}")
    if lines:
        listed = "\n  ".join(lines)
        raise IncompatibleError(
            f"--of: expected runs of the same data, stores and protocol\n  {listed}",
            remedy="Train those that differ anew, with the settings of the first",
        )


def _differences(
    folder: RunFolder,
    settings: RunSettings,
    entries: Mapping[str, Mapping[str, Any]],
    facts: Mapping[str, int | str],
) -> Iterator[str]:
    """Yield in words what a run has otherwise than the hybrid."""
    theirs = folder.settings()
    changed = changed_sequences(folder.path, facts)
    if changed is not None:
        yield f"sequences: {changed}"
    for name in _SHARED:
        expected, given = getattr(settings.data, name), getattr(theirs.data, name)
        if expected != given:
            yield f"data.{name}: expected {expected}, found {given}"
    if theirs.mask_history != settings.mask_history:
        yield f"mask_history: expected {settings.mask_history}, found {theirs.mask_history}"
    if not theirs.model.reads_hidden_states:
        return
    if theirs.features != settings.features:
        yield f"features: expected {settings.features}, found {theirs.features}"
    recorded = folder.lock()["stores"]
    if sorted(recorded) != sorted(entries):
        yield f"modalities: expected {', '.join(entries)}, found {', '.join(recorded)}"
    for modality in recorded.keys() & entries.keys():
        for name in ("fingerprint", "version", "layers"):
            expected, given = entries[modality][name], recorded[modality][name]
            if expected != given:
                yield f"{modality} store, {name}: expected {expected}, found {given}"


def _base_run(folder: RunFolder) -> BaseRunSettings:
    """Return a run as a hybrid records it."""
    settings = _require_judged(folder)
    model = settings.model
    if not isinstance(model, SequenceSettings) or model.reads_media:
        raise UsageError(
            f"--of {folder.path}: expected a run of a model that makes vectors of items by stores"
            f" or ids and vectors of histories, got one of {model.kind}",
            remedy="Name runs of crossan, frozen, sasrec and the like",
        )
    sha256 = folder.best_checkpoint().sha256["model.safetensors"]
    temperature = settings.objective.temperature if settings.objective.has_temperature else 1.0
    return BaseRunSettings(
        run=str(folder.path.absolute()), sha256=sha256, model=model, temperature=temperature
    )


def _require_judged(folder: RunFolder) -> RunSettings:
    settings = folder.settings()
    require_figures(folder.path, settings)
    if folder.result() is None:
        raise _unfinished(folder)
    return settings


def _unfinished(folder: RunFolder) -> UsageError:
    return UsageError(
        f"--of {folder.path}: expected a finished run, found no result.json",
        remedy=f"crossan-train --config {folder.path}/config.toml --out {folder.path} --resume",
    )
