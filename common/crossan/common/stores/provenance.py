"""Who made the rows of a segment, also where a compaction has gathered them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from crossan.cache_schema.canonical import canonical_bytes
from crossan.cache_schema.segment import SegmentRecord

__all__ = ["gathered_producers", "origins_of"]

_GATHERED = "gathered"
_SEGMENTS = "segments"
_SECONDS = "seconds"


def gathered_producers(records: Iterable[SegmentRecord]) -> dict[str, Any]:
    """Return what the producer of a compaction says of the segments it gathers.

    Each producer is listed once, under ``gathered``, with the ids of its segments and
    the sum of their seconds. What all of them say alike is a field of the result too,
    for those who look for one licence or one dataset.
    """
    listed: dict[bytes, dict[str, Any]] = {}
    for record in records:
        for origin in origins_of(record.producer):
            named = origin.get(_SEGMENTS, [record.segment_id])
            plain = {name: origin[name] for name in origin if name not in (_SEGMENTS, _SECONDS)}
            entry = listed.setdefault(canonical_bytes(plain), {**plain, _SEGMENTS: []})
            entry[_SEGMENTS] += named
            seconds = origin.get(_SECONDS)
            if isinstance(seconds, int | float):
                entry[_SECONDS] = round(entry.get(_SECONDS, 0) + seconds, 3)
    entries = list(listed.values())
    alike = {
        name: value
        for name, value in (entries[0] if entries else {}).items()
        if name not in (_SEGMENTS, _SECONDS)
        and all(name in entry and entry[name] == value for entry in entries)
    }
    return {**alike, _GATHERED: entries}


def origins_of(producer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the producers of the rows that a segment holds.

    They are those that a compaction lists, or else the segment's own.
    """
    listed = producer.get(_GATHERED)
    if not isinstance(listed, list) or not all(_is_producer(entry) for entry in listed):
        return [dict(producer)]
    # A repair of a compaction says so beside the list, of all that is in it.
    said = {"rescued_from": producer["rescued_from"]} if "rescued_from" in producer else {}
    return [{**entry, **said} for entry in listed]


def _is_producer(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get(_SEGMENTS, []), list)
