"""Find the items whose content or state differs from what the store records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from crossan.cache_schema.modality import ItemStatus
from crossan.common.contents.media_list import Medium
from crossan.extract.job.plan import Batch

__all__ = ["Finding", "Recorded", "look_at", "look_at_batches", "take_first", "unsettled"]

Recorded = Mapping[str, tuple[str | None, ItemStatus]]
"""What a store holds, (content digest, status) by item id."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The state of one item's medium, as far as it shows without decoding."""

    medium: Medium
    digest: str | None = None
    """Of the content; None where there is none to read."""
    status: ItemStatus | None = None
    """None where the medium exists and must be decoded."""
    reason: str | None = None
    """Why the status is not ok."""


def look_at(
    medium: Medium, digest_of_file: Callable[[Path], str], digest_of_text: Callable[[str], str]
) -> Finding:
    """Return the content digest of a medium, or the state that no decoding will change."""
    if medium.title is not None:
        return Finding(medium, digest_of_text(medium.title))
    if medium.path is None:
        return Finding(medium, None, ItemStatus.ABSENT, None)
    # is_file() raises too, for a name that is too long or a folder that may not be entered.
    try:
        if medium.path.is_file():
            return Finding(medium, digest_of_file(medium.path))
        if medium.path.exists():
            return Finding(medium, None, ItemStatus.QUARANTINED, f"not-a-file: {medium.path}")
        return Finding(medium, None, ItemStatus.MISSING, f"missing: no file at {medium.path}")
    except OSError as error:
        reason = f"unreadable: {error.strerror or error}"
        return Finding(medium, None, ItemStatus.QUARANTINED, reason)


def look_at_batches(
    batches: Sequence[Batch], look: Callable[[Medium], Finding], worker_count: int
) -> Iterator[tuple[Finding, ...]]:
    """Yield the findings of each batch, in order.

    Parameters
    ----------
    look
        `look_at` with its digest functions filled in; called from ``worker_count`` threads.
    """
    # Threads serve: hashing releases the interpreter's lock, and slow disks make them wait.
    pool = ThreadPoolExecutor(max(worker_count, 1), thread_name_prefix="crossan-look")
    try:
        findings = pool.map(look, (medium for batch in batches for medium in batch))
        for batch in batches:
            yield tuple(islice(findings, len(batch)))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def unsettled(findings: Sequence[Finding], recorded: Recorded) -> tuple[Finding, ...]:
    """Return the findings that the store does not record yet, in order."""
    return tuple(finding for finding in findings if not _is_settled(finding, recorded))


def take_first(
    batches: Sequence[tuple[Finding, ...]], item_count: int | None
) -> list[tuple[Finding, ...]]:
    """Return the first ``item_count`` items in their batches, or all of them for None."""
    if item_count is None:
        return list(batches)
    taken: list[tuple[Finding, ...]] = []
    for findings in batches:
        if item_count <= 0:
            break
        taken.append(findings[:item_count])
        item_count -= len(findings)
    return taken


def _is_settled(finding: Finding, recorded: Recorded) -> bool:
    """Tell whether the store already says of this item what a run would find again."""
    if finding.medium.item_id not in recorded:
        return False
    digest, status = recorded[finding.medium.item_id]
    # A digest says that the store's status came from a file's bytes (a sound track that is absent,
    # say), which is another state than that of an item without a file.
    if finding.status is not None:
        return digest is None and status is finding.status
    # The same bytes decode to the same state, so a quarantined file waits until they change.
    return digest == finding.digest and status is not ItemStatus.DELETED
