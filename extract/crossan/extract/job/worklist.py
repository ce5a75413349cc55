"""Find the items whose content or state differs from what the store records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from crossan.cache_schema.modality import ItemStatus
from crossan.common.contents.media_list import Medium
from crossan.common.regular import SpecialFileError
from crossan.extract.job.plan import Batch
from crossan.extract.job.timed_map import timed_map
from crossan.extract.media.faults import MISSING, MediaFault, unreadable
from crossan.extract.media.media_files import not_a_file

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
    try:
        return Finding(medium, digest_of_file(medium.path))
    except SpecialFileError as error:
        return Finding(medium, None, ItemStatus.QUARANTINED, str(not_a_file(error)))
    except (FileNotFoundError, NotADirectoryError):
        return Finding(medium, None, ItemStatus.MISSING, MISSING)
    except OSError as error:
        return Finding(medium, None, ItemStatus.QUARANTINED, unreadable(error))


def look_at_batches(
    batches: Sequence[Batch],
    look: Callable[[Medium], Finding],
    worker_count: int,
    seconds: float,
) -> Iterator[tuple[Finding, ...]]:
    """Yield the findings of each batch, in order.

    Parameters
    ----------
    look
        `look_at` with its digest functions filled in; called from ``worker_count`` threads.
    seconds
        Time on the clock for one item, after which it is quarantined as ``over-time``:
        a file server that does not answer must not keep the job waiting for ever.
    """
    # Threads serve: hashing releases the interpreter's lock, and slow disks make them wait.
    media = [medium for batch in batches for medium in batch]
    looks = zip(media, timed_map(look, media, max(worker_count, 1), seconds), strict=True)
    late = f"{MediaFault.OVER_TIME.value}: not read within {seconds:g} s"
    for batch in batches:
        yield tuple(
            Finding(medium, None, ItemStatus.QUARANTINED, late) if finding is None else finding
            for medium, finding in islice(looks, len(batch))
        )


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
    # The same bytes decode to the same state, so a quarantined file waits until they change, or
    # until a release that reads more: then it is not among those recorded.
    return digest == finding.digest and status is not ItemStatus.DELETED
