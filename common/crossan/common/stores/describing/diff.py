"""How two stores differ in recipe, items and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from crossan.common.stores.reader import FeatureStore

__all__ = ["StoreDiff", "diff_stores"]

_ITEMS_PER_BLOCK = 1_024
_SHOWN = 3


@dataclass(slots=True)
class StoreDiff:
    """What differs between two stores A and B.

    Lists are empty and numbers zero where nothing does.
    """

    recipe: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """From the dotted name of a field of the identity to its two values.

    The codec, which changes no number, is left out.
    """
    items: dict[str, list[str]] = field(default_factory=dict)
    """From ``only_in_a``, ``only_in_b``, ``other_status`` or ``other_content`` to item ids."""
    compared: int = 0
    """Items that are ok in both."""
    differing: int = 0
    """Those of them with any other bit in a layer that both keep."""
    largest: float = 0.0
    """Largest norm of a difference over the norm in A, over items and layers."""
    largest_at: str | None = None

    @property
    def is_equal(self) -> bool:
        """Whether the stores hold the same."""
        return not self.recipe and not any(self.items.values()) and not self.differing

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON that ``crossan cache diff`` prints."""
        return {
            "equal": self.is_equal,
            "recipe": {name: list(values) for name, values in self.recipe.items()},
            "items": {
                name: {"count": len(ids), "first": ids[:_SHOWN]} for name, ids in self.items.items()
            },
            "values": {
                "compared": self.compared,
                "differing": self.differing,
                "largest_relative_difference": self.largest,
                "at": self.largest_at,
            },
        }

    def to_text(self) -> str:
        """Return the same for people."""
        lines = [f"recipe: {name}: {a!r} | {b!r}" for name, (a, b) in self.recipe.items()]
        lines += [
            f"items: {len(ids):,} {name.replace('_', ' ')}, first: {', '.join(ids[:_SHOWN])}"
            for name, ids in self.items.items()
            if ids
        ]
        where = f" at {self.largest_at}" if self.largest_at else ""
        lines.append(
            f"values: {self.differing:,} of {self.compared:,} items that both have differ, "
            f"by at most {self.largest:.3g} relative{where}"
        )
        return "\n".join([*lines, "equal" if self.is_equal else "different"])


def diff_stores(a: FeatureStore, b: FeatureStore) -> StoreDiff:
    """Compare two stores.

    Rows are compared in the layers that both keep, if these have the same width.
    """
    diff = StoreDiff()
    ours, theirs = dict(_flat(a.identity.to_dict())), dict(_flat(b.identity.to_dict()))
    for name in sorted(set(ours) | set(theirs)):
        if name != "codec" and ours.get(name) != theirs.get(name):
            diff.recipe[name] = (ours.get(name), theirs.get(name))
    common, rows_a, rows_b = np.intersect1d(a.item_ids, b.item_ids, return_indices=True)
    digests_a, digests_b = a.content_digests, b.content_digests
    is_other = np.array(
        [digests_a[x] != digests_b[y] for x, y in zip(rows_a, rows_b, strict=True)], dtype=bool
    )
    diff.items = {
        "only_in_a": np.setdiff1d(a.item_ids, b.item_ids).tolist(),
        "only_in_b": np.setdiff1d(b.item_ids, a.item_ids).tolist(),
        "other_status": common[a.status[rows_a] != b.status[rows_b]].tolist(),
        "other_content": common[is_other].tolist(),
    }
    layers = [layer for layer in a.layers if layer in b.layers]
    both = a.presence[rows_a] & b.presence[rows_b]
    diff.compared = int(both.sum())
    if layers and a.dim == b.dim:
        # In blocks, as both stores may be larger than memory.
        for start in range(0, diff.compared, _ITEMS_PER_BLOCK):
            chosen = np.flatnonzero(both)[start : start + _ITEMS_PER_BLOCK]
            _compare(diff, a, b, (rows_a[chosen], rows_b[chosen]), layers)
    return diff


def _compare(
    diff: StoreDiff,
    a: FeatureStore,
    b: FeatureStore,
    rows: tuple[np.ndarray, np.ndarray],
    layers: list[int],
) -> None:
    left, right = a.read(rows[0], layers), b.read(rows[1], layers)  # (item, layer, dim)
    diff.differing += int((left != right).any(axis=(1, 2)).sum())
    # In float64: the difference of two float16 values may lose its last bits, or overflow.
    left, right = left.astype(np.float64), right.astype(np.float64)
    error = np.linalg.norm(left - right, axis=2) / np.maximum(np.linalg.norm(left, axis=2), 1e-12)
    if error.size and error.max() > diff.largest:
        item, layer = np.unravel_index(int(error.argmax()), error.shape)
        diff.largest = float(error.max())
        diff.largest_at = f"item {a.item_ids[rows[0][item]]}, layer {layers[layer]}"


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner
