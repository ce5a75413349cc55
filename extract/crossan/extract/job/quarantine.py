"""Write ``quarantine.jsonl``, the list of the unreadable items of a store."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.contents.media_list import Medium
from crossan.common.files import replace_durably
from crossan.extract.media.faults import MediaFault
from crossan.extract.media.recipe import READER_REVISION

if TYPE_CHECKING:
    from crossan.common.stores import FeatureStore

__all__ = ["QUARANTINE_FILE", "is_final", "split_reason", "with_reader", "write_quarantine"]

QUARANTINE_FILE = "quarantine.jsonl"

_OF_THIS_MACHINE = {
    *(MediaFault.CRASHED, MediaFault.OVER_MEMORY, MediaFault.OVER_TIME),
    "unreadable",
}
"""Faults that need not be the file's, so that the next job tries again."""

_THIS_READER = f" (reader {READER_REVISION})"
_READER = re.compile(r" \(reader \d+\)$")
"""What a reason says of the release of our decoders that gave it."""


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


def with_reader(reason: str | None) -> str:
    """Return the reason of an item whose content was read, with what read it."""
    return f"{reason or 'unknown'}{_THIS_READER}"


def is_final(digest: str | None, reason: str | None) -> bool:
    """Tell whether a quarantined item would be refused again, so long as its content is the same.

    A content that an earlier release refused is tried again, and so is one whose
    fault may have been the machine's.

    Parameters
    ----------
    digest
        Of the content; None for what has none that could be read, and is looked at anew
        by every job.
    reason
        As a store records it.
    """
    if split_reason(reason)[0] in _OF_THIS_MACHINE:
        return False
    return digest is None or (reason or "").endswith(_THIS_READER)


def split_reason(text: str | None) -> tuple[str, str]:
    """Return the typed reason and the detail of a reason that a store records.

    Such a text is ``"truncated: mov: End of file (reader 2)"``, whose last part is left out.
    """
    reason, _, detail = _READER.sub("", text or "unknown").partition(": ")
    return reason, detail
