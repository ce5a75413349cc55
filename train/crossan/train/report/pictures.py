"""Titles and small pictures of items, as far as they are at hand.

Decoders live in extract, which train must not import: it announces functions by
entry points in the group ``crossan.thumbnails``, named as the modality, from a
path and a side in pixels to the bytes of a JPEG. A machine that only trains does
without, and shows titles.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from crossan.cache_schema.errors import DataError
from crossan.cache_schema.modality import Modality
from crossan.common.datasets import Dataset

__all__ = ["THUMBNAILS_GROUP", "Picture", "look_up"]

THUMBNAILS_GROUP = "crossan.thumbnails"

_SIDE = 96
"""Pixels; the page shows 72, and screens have more than one pixel to each."""
_LARGEST = 6_000
"""Bytes of a picture that goes into the page."""
_MOST = 150
"""Pictures of a page."""

Picture = tuple[str, str]
"""Title, and the ``data:`` address of a picture; each may be empty."""

_Maker = Callable[[Path, int], bytes]


def look_up(dataset: Dataset, item_ids: Iterable[str]) -> dict[str, Picture]:
    """Return what can be shown of some items.

    A file that is missing or broken gives no picture, and no error: whether media
    are sound is for ``crossan data check`` to say.
    """
    distinct = list(dict.fromkeys(item_ids))
    table = dataset.items()
    chosen = table.filter(pc.is_in(table.column("item_id"), pa.array(distinct, pa.string())))
    rows = {row["item_id"]: row for row in chosen.to_pylist()}
    makers = _makers()
    by_item: dict[str, Picture] = {}
    pictures = 0
    for item_id in distinct:
        row = rows.get(item_id, {})
        picture = _picture(dataset, row, makers) if pictures < _MOST else ""
        pictures += bool(picture)
        by_item[item_id] = (row.get("title") or "", picture)
    return by_item


def _makers() -> dict[Modality, _Maker]:
    """Return what makes pictures, the still images first."""
    makers = {}
    for modality in (Modality.IMAGE, Modality.VIDEO):
        for point in entry_points(group=THUMBNAILS_GROUP, name=modality.value):
            try:
                makers[modality] = point.load()
            except ModuleNotFoundError:
                break  # crossan[extract] is not installed
    return makers


def _picture(dataset: Dataset, row: dict[str, str | None], makers: dict[Modality, _Maker]) -> str:
    for modality, make in makers.items():
        path = row.get(modality.value)
        if path is None:
            continue
        try:
            content = make(dataset.media_path(path), _SIDE)
        except (DataError, OSError):
            continue
        if len(content) <= _LARGEST:
            return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
    return ""
