"""The stores that the trials of a sweep read.

Metrics are compared only where the trials read the same version of the same
store of every modality.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossan.cache_schema.canonical import canonical_bytes
from crossan.cache_schema.errors import IncompatibleError
from crossan.train.settings import RunSettings
from crossan.train.settings.tower import modality_of, tower_of
from crossan.train.sweep.points import Point

__all__ = ["StoresRead", "stores_to_read"]

_MODALITY, _ELSEWHERE = "data.modality", ("data.cache", "data.store")
"""Axes by which a sweep makes trials read other modalities, or stores in other folders."""
_FIXES_NUMBERS = ("fingerprint", "version", "manifest")
"""Keys of a store's entry in ``cache.lock.json`` that fix its numbers.

The locks of old runs have no manifest.
"""


class StoresRead:
    """The stores that trials have read so far.

    A cache can gain a version or a modality while a sweep runs, or between two
    calls of it. All trials must read the same modalities, and the same version
    of every store that they share. They may differ only in what an axis of the
    sweep changes.
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[bytes, str], tuple[str, Mapping[str, Any]]] = {}
        self._modalities: dict[bytes, tuple[str, str]] = {}

    def add(self, who: str, point: Point, stores: Mapping[str, Mapping[str, Any]]) -> None:
        """Add the stores of a trial.

        Parameters
        ----------
        who
            The trial, as an error will name it.
        point
            Its point.
        stores
            Its stores by modality, as `crossan.train.features.sources.lock_entries`
            describes them. None where it reads item ids alone, which compares
            with anything.

        Raises
        ------
        IncompatibleError
            An earlier trial read something else.
        """
        if not stores:
            return
        # Trials that an axis sends to other folders are compared among themselves only.
        sources = canonical_bytes({name: point[name] for name in _ELSEWHERE if name in point})
        odd = []
        if _MODALITY not in point:
            names = ", ".join(sorted(stores))
            first, names_before = self._modalities.setdefault(sources, (who, names))
            if names_before != names:
                odd.append(f"modalities: {names_before} in {first}; {names} in {who}")
        for modality, entry in stores.items():
            first, before = self._entries.setdefault((sources, modality), (who, entry))
            if not _is_same(before, entry):
                odd.append(
                    f"{modality}: {_in_words(before)} in {first}; {_in_words(entry)} in {who}"
                )
        if odd:
            listed = "\n  ".join(odd)
            raise IncompatibleError(
                "trials of one sweep read different stores,"
                f" so their figures cannot be compared\n  {listed}",
                remedy="Sweep into another --out with the stores named: --modality, --store",
            )


def stores_to_read(
    settings: RunSettings, point: Point, base_stores: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, Mapping[str, Any]]:
    """Return the stores of the base settings that a trial will read.

    They are none where the trial reads stores in another folder.
    """
    if not settings.model.reads_hidden_states or any(name in point for name in _ELSEWHERE):
        return {}
    modalities = settings.data.modality
    if modalities is None:
        return dict(base_stores)
    return {
        name: entry
        for name, entry in base_stores.items()
        if modality_of(tower_of(name)) in modalities
    }


def _is_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return all(
        before[name] == now[name] for name in _FIXES_NUMBERS if name in before and name in now
    )


def _in_words(entry: Mapping[str, Any]) -> str:
    manifest = entry.get("manifest", "unknown")[:12]
    return f"version {entry['version']} (manifest {manifest}) of {entry['store']}"
