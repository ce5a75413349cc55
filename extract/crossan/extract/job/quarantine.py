"""Write ``quarantine.jsonl``, the list of the unreadable items of a store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.contents.media_list import Medium
from crossan.common.files import replace_durably

if TYPE_CHECKING:
    from crossan.common.stores import FeatureStore

__all__ = ["QUARANTINE_FILE", "split_reason", "write_quarantine"]

QUARANTINE_FILE = "quarantine.jsonl"


def write_quarantine(store: FeatureStore, modality: Modality, media: Sequence[Medium]) -> Path:
    """Write the list beside the store's segments, over the one before in one step.

    The file is a view of the newest version: an item that a later run could
    read is no longer in it. Each line is a JSON object with item_id, modality,
    path (null for a title), reason (typed) and detail.
    """
    by_id = {medium.item_id: medium for medium in media}
    lines = []
    for item_id, status, text in zip(store.item_ids, store.status, store.reasons, strict=True):
        if status == ItemStatus.QUARANTINED and str(item_id) in by_id:
            path = by_id[str(item_id)].path
            reason, detail = split_reason(text)
            entry = {
                "item_id": str(item_id),
                "modality": modality.value,
                "path": None if path is None else str(path),
                "reason": reason,
                "detail": detail,
            }
            lines.append(json.dumps(entry, ensure_ascii=False) + "\n")
    target = Path(store.path) / QUARANTINE_FILE
    replace_durably(target, "".join(lines).encode(errors="surrogatepass"))
    return target


def split_reason(text: str | None) -> tuple[str, str]:
    """Return the typed reason and the detail of a reason that a store records.

    Such a text is ``"truncated: moov atom not found"``.
    """
    reason, _, detail = (text or "unknown").partition(": ")
    return reason, detail
