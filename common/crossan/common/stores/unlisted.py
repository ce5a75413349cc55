"""Segments that no manifest lists.

They tell of a manifest that was lost: without it, readers would take an older
version for the newest one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.manifest import Manifest
from crossan.cache_schema.segment import is_segment_id
from crossan.common.stores.journal_names import JournalName

__all__ = ["Lying", "Unlisted", "lost_manifest", "lying_segments"]


@dataclass(frozen=True, slots=True)
class Unlisted:
    """The segments of a store that are in none of its manifests, sorted."""

    lost: tuple[str, ...]
    """Those that no writer has claimed: a manifest that listed them is gone."""
    claimed: tuple[str, ...]
    """Those that a journal or claim in ``staging/`` names.

    Their writer is about to list them, or was killed before it did. Then the next
    job of the same kind lists them, or a garbage collection removes them.
    """


class Lying(NamedTuple):
    """What lies in a store, read before its manifests are."""

    segments: frozenset[str]
    claimed: frozenset[str]

    def unlisted(self, manifests: Iterable[Manifest]) -> Unlisted:
        """Return the segments that none of the manifests lists, or lists as dropped."""
        left = set(self.segments)
        for manifest in manifests:
            # The newest one mostly lists them all: then no other is looked at.
            left.difference_update(entry.segment_id for entry in manifest.segments)
            left.difference_update(manifest.dropped)
            if not left:
                break
        return Unlisted(tuple(sorted(left - self.claimed)), tuple(sorted(left & self.claimed)))


def lying_segments(folder: Path) -> Lying:
    """Return the segments that lie in a store, and those that a writer has claimed.

    Call this before the manifests are read. A writer claims a segment in
    ``staging/``, publishes it, lists it in a manifest, and takes the claim
    back. Looked at in the same order, with the manifests last, each segment is
    seen claimed or listed, however fast its writer is.
    """
    segments = frozenset(name for name in _names(folder / "segments") if is_segment_id(name))
    staging = folder / "staging"
    # Others than its writers may not be allowed to look into it. An unlisted segment cannot be
    # told from one whose manifest was lost then, and counts as one.
    names = _names(staging) if os.access(staging, os.R_OK) else []
    parsed = (JournalName.parse(name) for name in names)
    return Lying(segments, frozenset(name.segment_id for name in parsed if name is not None))


def lost_manifest(folder: Path, newest: int, lost: tuple[str, ...]) -> StoreIntegrityError:
    """Return the error for segments whose manifest is gone.

    ``newest`` is the highest version that is left, 0 for none.
    """
    after = f"newer than version {newest} " if newest else ""
    return StoreIntegrityError(
        f"{folder / 'versions'}: expected every segment in a manifest, found {len(lost):,} under"
        f" segments/ in none, first: {lost[0]}; a manifest {after}was lost",
        remedy="Run: crossan-extract --repair with the options of the store,"
        f" or bring the manifest back: crossan cache pull REMOTE --to {folder}",
    )


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
