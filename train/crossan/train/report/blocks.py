"""What a section of the page is made of; the templates know how each looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from crossan.train.report.figures import Figure

__all__ = ["Block", "Cards", "Cell", "Figures", "Item", "Note", "Section", "Shelf", "Table", "Text"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One field of a table."""

    text: str
    detail: str = ""
    """Small, on a line of its own."""
    is_best: bool = False
    style: int | None = None
    """Number of the colour that figures give this row, None for no mark."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first column names its rows."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    texts: frozenset[int] = frozenset({0})
    """Columns of words, which begin at the left; numbers end at the right."""
    is_folded: bool = False
    """Whether it opens on demand only."""
    kind: Literal["table"] = "table"


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures side by side, as many as there is room for."""

    figures: Sequence[Figure]
    kind: Literal["figures"] = "figures"


@dataclass(frozen=True, slots=True)
class Note:
    """A remark, and a command that changes what it says."""

    text: str
    command: str = ""
    kind: Literal["note"] = "note"


@dataclass(frozen=True, slots=True)
class Text:
    """A file, folded."""

    title: str
    content: str
    kind: Literal["text"] = "text"


@dataclass(frozen=True, slots=True)
class Item:
    """An item of the catalogue."""

    item_id: str
    title: str
    detail: str = ""
    picture: str = ""
    """A ``data:`` address, empty for none."""
    tag: str = ""
    """A word on an item that stands out, empty for the others."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """Items in a row, with what they are to each other."""

    label: str
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Cards:
    """Shelves that belong together, such as a user's history and what is shown next."""

    title: str
    shelves: Sequence[Shelf]
    detail: str = ""
    is_side_by_side: bool = False
    """Whether the shelves are short, and stand beside each other."""
    kind: Literal["cards"] = "cards"

    @property
    def has_pictures(self) -> bool:
        """Whether any of its items has a picture; without one there is no place for them."""
        return any(item.picture for shelf in self.shelves for item in shelf.items)


Block = Table | Figures | Note | Text | Cards


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with a heading."""

    anchor: str
    title: str
    blocks: Sequence[Block]
    lead: str = ""
