"""The four modalities and the states an item can be in, in their one fixed order."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ItemStatus", "Modality"]


class Modality(StrEnum):
    """One kind of raw content.

    The order here is the order of gates, towers and columns everywhere.
    """

    TEXT = "text"
    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"

    @property
    def order(self) -> int:
        """Position in the fixed order, 0 for text."""
        return list(Modality).index(self)


class ItemStatus(StrEnum):
    """What a store knows of one item.

    Everything but ``ok`` is masked in training and counted.
    """

    OK = "ok"
    ABSENT = "absent"
    """The item has no such medium: no path, no title, or a video without a sound track."""
    MISSING = "missing"
    """A path is given, but there is no file at it."""
    QUARANTINED = "quarantined"
    """The medium could not be read; the reason says why."""
    DELETED = "deleted"
    """A tombstone: the item was taken out of the store."""
