"""What the trials of a sweep read: one version of one store a modality, or their figures are not compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossan.cache_schema.canonical import canonical_bytes
from crossan.cache_schema.errors import IncompatibleError
from crossan.train.settings import RunSettings
from crossan.train.sweep.points import Point

__all__ = ["StoresRead", "stores_to_read"]

_MODALITY, _ELSEWHERE = "data.modality", ("data.cache", "data.store")
"""Axes by which a sweep itself has trials read other modalities, or stores that lie elsewhere."""
_FIXES_NUMBERS = ("fingerprint", "version", "manifest")
"""What a store's entry in ``cache.lock.json`` says of its numbers; locks of old runs have no manifest."""


class StoresRead:
    """The stores that trials have read so far.

    A cache can gain a version or a modality while a sweep runs, or between
    two calls of it. Trials are held to the same version of every store that
    they share, and to the same modalities; where an axis of the sweep says
    otherwise, they may differ in what it says.
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[bytes, str], tuple[str, Mapping[str, Any]]] = {}
        self._modalities: dict[bytes, tuple[str, str]] = {}

    def add(self, who: str, point: Point, stores: Mapping[str, Mapping[str, Any]]) -> None:
        """Note what a trial has read.

        Parameters
        ----------
        who
            The trial, as an error shall name it.
        point
            Its point.
        stores
            Its stores by modality, as `crossan.train.features.sources.lock_entries` describes them; none where it reads
            item ids alone, which compares with anything.

        Raises
        ------
        IncompatibleError
            An earlier one has read something else.
        """
        if not stores:
            return
        place = canonical_bytes({name: point[name] for name in _ELSEWHERE if name in point})
        odd = []
        if _MODALITY not in point:
            names = ", ".join(sorted(stores))
            earlier, before = self._modalities.setdefault(place, (who, names))
            if before != names:
                odd.append(f"modalities: {before} in {earlier}; {names} in {who}")
        for modality, entry in stores.items():
            first, there = self._entries.setdefault((place, modality), (who, entry))
            if not _is_same(there, entry):
                odd.append(f"{modality}: {_shown(there)} in {first}; {_shown(entry)} in {who}")
        if odd:
            listed = "\n  ".join(odd)
            raise IncompatibleError(
                f"trials of one sweep read different stores, so their figures cannot be compared\n  {listed}",
                remedy="Remove the run folder of the trial that is odd and run the same command again, or sweep into"
                " another --out with the stores named: --modality, --store",
            )


def stores_to_read(
    settings: RunSettings, point: Point, found: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, Mapping[str, Any]]:
    """Return those of the stores found for the base settings that a trial will read; none where it looks elsewhere."""
    if not settings.model.reads_hidden_states or any(name in point for name in _ELSEWHERE):
        return {}
    wanted = settings.data.modality
    return {name: entry for name, entry in found.items() if wanted is None or name in wanted}


def _is_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return all(
        before[name] == now[name] for name in _FIXES_NUMBERS if name in before and name in now
    )


def _shown(entry: Mapping[str, Any]) -> str:
    return f"version {entry['version']} (manifest {entry.get('manifest', 'unknown')[:12]}) of {entry['store']}"
