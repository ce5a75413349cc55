"""Everything a newcomer wants to know of one store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import StoreNotFoundError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import ItemStatus
from crossan.common.stores.describing.licences import licences_of, producers_of
from crossan.common.stores.folders import read_identity
from crossan.common.stores.reader import FeatureStore, open_store
from crossan.common.stores.versions import list_versions, read_manifest

__all__ = ["NO_INFORMATION", "describe", "info_fields", "layer_variance", "summary"]

_SAMPLED_ITEMS = 4_096
NO_INFORMATION = 1e-6
"""Share of a layer's mean square below which its variance across items says nothing."""
_KNOWN = [status for status in ItemStatus if status is not ItemStatus.DELETED]


def summary(path: Path) -> dict[str, Any]:
    """Return what ``crossan cache ls`` shows of a store.

    No chunk is read for it.
    """
    identity = read_identity(path)
    opened = _newest(path)
    return {
        "store": str(path),
        "modality": identity.modality.value,
        "version": opened.version if opened else 0,
        "fingerprint": identity.fingerprint,
        "items": len(opened.item_ids) if opened else 0,
        **{
            status.value: int((opened.status == status.value).sum()) if opened else 0
            for status in _KNOWN
        },
        "layers": list(identity.layers),
        "dim": identity.dim,
        "stored_dtype": identity.stored_dtype,
        "codec": identity.codec,
    }


def _newest(path: Path) -> FeatureStore | None:
    """Open the newest version, or return None where none has been published yet."""
    try:
        return open_store(path)
    except StoreNotFoundError:
        if list_versions(path):
            raise
        return None


def describe(path: Path) -> dict[str, Any]:
    """Return everything that ``crossan cache info --json`` prints.

    Raises
    ------
    StoreNotFoundError, StoreIntegrityError, IncompatibleError
        As `open_store`, and for a damaged chunk that the variances are taken from.
    """
    identity = read_identity(path)
    described = summary(path)
    if described["version"] == 0:
        notes = ["begun, but no version has been published yet"]
        return described | _recipe(identity) | {"versions": [], "notes": notes}
    opened = open_store(path)
    producers = producers_of(path)
    variance, share, sampled = layer_variance(opened)
    return {
        **described,
        **_recipe(identity),
        "dataset": _dataset_name(producers, path),
        "licences": licences_of(path),
        "segments": len(opened.records),
        "bytes": sum(entry.size for record in opened.records for entry in record.files),
        "raw_bytes": int(opened.presence.sum()) * identity.row_bytes,
        "versions": [
            {"version": version, "segments": len(read_manifest(path, version).segments)}
            for version in list_versions(path)
        ],
        "producers": _distinct(producers),
        "layer_variance": dict(zip(map(str, opened.layers), variance, strict=True)),
        "variance_items": sampled,
        "notes": _notes(opened, share),
    }


def layer_variance(store: FeatureStore) -> tuple[list[float], list[float], int]:
    """Return how much the kept layers differ between items.

    Returns
    -------
    tuple
        Three values. For each kept layer the mean over ``dim`` of the variance across
        items. For each kept layer that mean as a share of the layer's mean square.
        The number of items looked at, which are up to 4,096 of those that are ok.
    """
    rows = np.flatnonzero(store.presence)
    # Evenly spaced and not the first ones: items are sorted by id, and neighbours may be alike.
    if len(rows) > _SAMPLED_ITEMS:
        rows = rows[np.linspace(0, len(rows) - 1, _SAMPLED_ITEMS).astype(np.int64)]
    if not len(rows):
        return [0.0] * len(store.layers), [0.0] * len(store.layers), 0
    variances, shares = [], []
    for layer in store.layers:
        # In float64: squares of float16 values overflow.
        states: npt.NDArray[np.float64]  # (item, dim)
        states = store.read(rows, [layer])[:, 0].astype(np.float64)
        variance, mean_square = float(states.var(axis=0).mean()), float(np.square(states).mean())
        variances.append(variance)
        shares.append(variance / mean_square if mean_square else 0.0)
    return variances, shares, len(rows)


def info_fields(described: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what ``crossan cache info`` prints for people, names and values."""
    layers = ", ".join(map(str, described["layers"]))
    backbone = described["backbone"]
    fields = {
        "store": described["store"],
        "what": f"{described['modality']} hidden states of {described.get('dataset', 'a dataset')},"
        f" layers {layers}, dim {described['dim']}, {described['stored_dtype']}",
        "backbone": f"{backbone.get('id')} at {backbone.get('revision') or 'no revision'}",
        "pooling": str(described["capture"].get("pooling", "not recorded")),
        "items": ", ".join(f"{described[status.value]:,} {status.value}" for status in _KNOWN)
        + f" ({described['items']:,} in all)",
    }
    if described["version"]:
        fields |= _version_fields(described)
    fields["fingerprint"] = described["fingerprint"]
    return [*fields.items(), *(("note", note) for note in described["notes"])]


def _version_fields(described: dict[str, Any]) -> dict[str, str]:
    return {
        "licences": "; ".join(
            f"{name}: {licence or 'not recorded'}"
            for name, licence in described["licences"].items()
        ),
        "version": f"{described['version']} of {len(described['versions'])},"
        f" {described['segments']} segments",
        "size": f"{described['bytes'] / 1e6:,.1f} MB on disk,"
        f" {described['raw_bytes'] / 1e6:,.1f} MB of rows",
        "made with": "; ".join(_producer_text(producer) for producer in described["producers"])
        or "not recorded",
        "variance": ", ".join(
            f"layer {name}: {value:.3g}" for name, value in described["layer_variance"].items()
        )
        + f" (across {described['variance_items']:,} items)",
    }


def _dataset_name(producers: list[dict[str, Any]], path: Path) -> str:
    """Return the name that a producer recorded, else that of the folder of its dataset."""
    recorded = (str(producer["dataset"]) for producer in producers if "dataset" in producer)
    return next(recorded, path.absolute().parent.parent.name)


def _recipe(identity: StoreIdentity) -> dict[str, Any]:
    return {
        "backbone": dict(identity.backbone),
        "inputs": dict(identity.inputs),
        "capture": dict(identity.capture),
    }


def _notes(opened: FeatureStore, share: list[float]) -> list[str]:
    notes = []
    silent = [
        layer for layer, value in zip(opened.layers, share, strict=True) if value < NO_INFORMATION
    ]
    if 0 in opened.layers and opened.identity.capture.get("pooling") == "cls":
        notes.append(
            "hidden state 0 at the CLS position is the same vector for every item: it is kept "
            "for fidelity to the paper and carries no information; --pooling mean at extraction "
            "gives one that does"
        )
        silent = [layer for layer in silent if layer]
    if silent and opened.presence.sum() > 1:
        named = ", ".join(map(str, silent))
        notes.append(
            "hidden states that are (nearly) the same for every item and carry no information: "
            f"layer {named}"
        )
    return notes


def _distinct(producers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    keys = ("crossan", "torch", "transformers", "device", "imported_from")
    seen: list[dict[str, Any]] = []
    for producer in producers:
        kept = {key: producer[key] for key in keys if key in producer}
        if kept and kept not in seen:
            seen.append(kept)
    return seen


def _producer_text(producer: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in producer.items())
