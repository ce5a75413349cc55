"""What a run's stores are called: by their modality, and by their folder where it reads several."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from crossan.cache_schema.modality import Modality

__all__ = ["NamedTower", "Tower", "in_order", "modality_of", "tower_of"]

_FOLDER = re.compile(r"[^\x00-\x1f\x7f/]{1,255}")


@dataclass(frozen=True, slots=True)
class NamedTower:
    """One of several stores of a modality that a run reads, each in a tower of its own."""

    modality: Modality
    store: str
    """Name of the store's folder."""

    @property
    def value(self) -> str:
        """The name, ``text:minilm-0123456789ab`` for example."""
        return f"{self.modality.value}:{self.store}"

    def __str__(self) -> str:
        """Return the name."""
        return self.value


Tower = Modality | NamedTower
"""What a store is known by in a run.

It is its modality where that is the only store of it, so that the files of a run name what they
always named."""


def modality_of(tower: Tower) -> Modality:
    """Return the modality that a tower reads."""
    return tower if isinstance(tower, Modality) else tower.modality


def tower_of(name: str) -> Tower:
    """Return the tower of a name, which may be anything.

    Raises
    ------
    ValueError
        It names none.
    """
    modality, colon, folder = name.partition(":")
    if modality not in set(Modality) or (colon and not _FOLDER.fullmatch(folder)):
        raise ValueError(f"expected one of {', '.join(Modality)}")
    return NamedTower(Modality(modality), folder) if colon else Modality(modality)


def in_order(towers: Iterable[Tower]) -> list[Tower]:
    """Return towers in the order of `Modality`, and those of one modality by their names."""
    return sorted(towers, key=lambda tower: (modality_of(tower).order, tower.value))
