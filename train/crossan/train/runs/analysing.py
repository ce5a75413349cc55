"""What a trained run is like inside: ``crossan analyse``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from crossan.cache_schema.errors import UsageError
from crossan.train.analysis.efficiency import Cost, tpme
from crossan.train.analysis.experts import expert_use, missing_names
from crossan.train.analysis.gates import gate_table, inter_gate_table
from crossan.train.analysis.layers import layer_table
from crossan.train.evaluation.encoding import ITEMS_PER_BLOCK
from crossan.train.evaluation.slices import popularity_deciles
from crossan.train.features import HiddenStates
from crossan.train.record.run_folder import RunFolder
from crossan.train.runs.opening import OpenedRun
from crossan.train.runs.tower_pass import Passed, encoder_of, pass_over_items, weighs_modalities
from crossan.train.sequences.popularity import training_counts

__all__ = ["analyse_run"]

_NO_STATES = "the model reads no hidden states"
_NO_TOWERS = "the model has no towers"


def analyse_run(run: OpenedRun, beside: Sequence[Path] = ()) -> dict[str, Any]:
    """Return what a run is like inside, as JSON can hold it.

    The keys are ``run``, ``model``, ``epoch``, ``items`` and the parts
    ``mutual_information``, ``gates``, ``experts``, ``layers`` and
    ``efficiency``. A part that a model does not have is None, and ``lacking``
    says why by its name. IISAN's models have ``inter_gates`` beside. docs/cli.md
    describes each.

    Parameters
    ----------
    run
        The run with the weights of its best epoch.
    beside
        Run folders that its TPME is relative to; without any it has none.

    Raises
    ------
    UsageError
        A run beside it has recorded no figures.
    """
    model, epoch = run.settings.model.kind, run.folder.best_checkpoint().state.get("epoch")
    facts = {"run": str(run.folder.path), "model": model, "epoch": epoch}
    lacking: dict[str, str] = {}
    parts: dict[str, Any] = {
        "mutual_information": None,
        "gates": None,
        "experts": None,
        "layers": None,
    }
    if run.features.modalities and isinstance(run.features, HiddenStates):
        parts |= _of_features(run, lacking)
    else:
        lacking |= dict.fromkeys(parts, _NO_STATES)
    parts["efficiency"] = _efficiency(run, beside, lacking)
    return {**facts, "items": len(run.kept.item_ids), **parts, "lacking": lacking}


def _of_features(run: OpenedRun, lacking: dict[str, str]) -> dict[str, Any]:
    """Return all parts that are about hidden states and towers."""
    passed, encoder = pass_over_items(run), encoder_of(run.model)
    parts: dict[str, Any] = {"layers": _layers(run, passed)}
    if encoder is None:
        lacking |= dict.fromkeys(("mutual_information", "gates", "experts"), _NO_TOWERS)
        return parts
    if passed.information:
        parts["mutual_information"] = _information(passed)
    else:
        lacking["mutual_information"] = "one modality: there is no pair of towers"
    parts |= _gates(run, encoder.towers)
    if "gates" not in parts:
        lacking["gates"] = "the towers have no gates"
    if passed.weights is None or not weighs_modalities(encoder.fusion):
        lacking["experts"] = "the fusion weighs no modalities"
    else:
        parts["experts"] = _experts(run, passed, passed.weights)
    return parts


@torch.inference_mode()
def _gates(run: OpenedRun, towers: nn.Module) -> dict[str, Any]:
    """Return the gates of the towers, and of IISAN's tower between the modalities."""
    tables = {
        "gates": ("gate_weights", gate_table),
        "inter_gates": ("inter_weights", inter_gate_table),
    }
    return {
        part: table(
            getattr(towers, weights)().double().cpu().numpy(), _names(run), _layer_numbers(run)
        )
        for part, (weights, table) in tables.items()
        if hasattr(towers, weights)
    }


def _names(run: OpenedRun) -> list[str]:
    return [modality.value for modality in run.features.modalities]


def _layer_numbers(run: OpenedRun) -> list[list[int]]:
    """Return the numbers of the layers that the run reads of each modality."""
    stores = run.folder.lock()["stores"]
    return [stores[name]["layers"] for name in _names(run)]


def _information(passed: Passed) -> dict[str, Any]:
    pairs = [
        {"between": [one.value, other.value], **asdict(information)}
        for (one, other), information in passed.information.items()
    ]
    return {"estimator": "gaussian", "pairs": pairs}


def _layers(run: OpenedRun, passed: Passed) -> list[dict[str, Any]]:
    """Return a row for every kept layer of every modality."""
    presence = torch.from_numpy(passed.presence)
    rows = []
    for m, (modality, numbers) in enumerate(
        zip(run.features.modalities, _layer_numbers(run), strict=True)
    ):
        # Evenly spaced over the catalogue, as neighbours may be alike, and one block at most:
        # that is what the memory was planned for.
        present = presence[:, m].nonzero()[:, 0]
        sampled = present[:: max(1, -(-len(present) // ITEMS_PER_BLOCK))]
        sample = run.features.gather(sampled)[0][m].cpu().numpy()
        rows += layer_table(modality.value, numbers, passed.moments[modality], sample)
    return rows


def _experts(run: OpenedRun, passed: Passed, weights: np.ndarray) -> dict[str, Any]:
    counts = training_counts(run.trained_items, len(run.kept.item_ids))
    # By name, so that decile 2 comes before decile 10 and cold before warm wherever they are shown.
    order = np.argsort(popularity_deciles(counts), kind="stable")
    slices = {
        "all": np.full(len(counts), "all"),
        "training": np.where(counts == 0, "cold", "warm"),
        "popularity_decile": popularity_deciles(counts).astype(str),
        "lacking": missing_names(passed.presence, _names(run)),
    }
    slices = {name: parts[order] for name, parts in slices.items()}
    return {
        "fusion": getattr(run.settings.model, "fusion", run.settings.model.kind),
        "slices": expert_use(weights[order], passed.presence[order], _names(run), slices),
    }


def _efficiency(
    run: OpenedRun, beside: Sequence[Path], lacking: dict[str, str]
) -> dict[str, Any] | None:
    """Return a row for the run and for each beside it, with their TPME."""
    own_figures = _figures(run.folder)
    if own_figures is None:
        lacking["efficiency"] = "the run is not finished: it has recorded no figures"
        return None
    rows = [own_figures]
    for path in beside:
        figures = _figures(RunFolder(path))
        if figures is None:
            raise UsageError(
                f"--beside {path}: expected a finished run, found none of its figures",
                remedy=f"crossan-train --config {path}/config.toml --out {path} --resume",
            )
        rows.append(figures)
    names = ("seconds_per_epoch", "trainable_parameters", "peak_memory_bytes")
    costs = [Cost(*(row[name] for name in names)) for row in rows]
    relative: list[float | None] = [None] if len(rows) == 1 else [*tpme(costs)]
    return {"rows": [{**row, "tpme": value} for row, value in zip(rows, relative, strict=True)]}


def _figures(folder: RunFolder) -> dict[str, Any] | None:
    """Return what a run recorded of its cost, None where it has recorded nothing or is older."""
    names = ("model", "seconds_per_epoch", "trainable_parameters", "peak_memory_bytes")
    recorded = folder.result() or folder.validation() or {}
    if any(recorded.get(name) is None for name in names):
        return None
    return {"run": str(folder.path), **{name: recorded[name] for name in names}}
