"""Take rows that somebody has computed already, as ``--reuse`` asks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from crossan.cache_schema.identity import StoreIdentity
from crossan.common.console import note
from crossan.common.stores import Journal
from crossan.common.stores.sharing.reuse import Donor
from crossan.extract.job.worklist import Finding

__all__ = ["reuse_rows"]


def reuse_rows(
    address: str,
    folder: Path,
    identity: StoreIdentity,
    work: Sequence[tuple[Finding, ...]],
    journal: Journal,
) -> list[tuple[Finding, ...]]:
    """Append the rows that a store elsewhere holds and return the work that is left.

    A row fits an item where the contents have the same digest.

    Parameters
    ----------
    address
        Of a store, or of a cache, whose stores of the same fingerprint count under any dataset.
    folder
        Of the store that is filled.
    identity
        Of both.
    work
        What remains to be done, in batches.
    journal
        Takes the rows.

    Raises
    ------
    CrossanError
        No store of this fingerprint lies there, or what arrives is damaged.
    """
    # Several items can have one content, and each gets a row of its own.
    ids_by_digest: dict[str, list[str]] = {}
    for finding in chain.from_iterable(work):
        if finding.status is None and finding.digest is not None:
            ids_by_digest.setdefault(finding.digest, []).append(finding.medium.item_id)
    if not ids_by_digest:
        return list(work)
    taken: set[str] = set()
    # Within a cache a store lies at DATASET/MODALITY/NAME.
    for donor in Donor.find_all(address, "/".join(folder.parts[-3:]), identity):
        digests: set[str | None] = set()
        for rows in donor.rows(ids_by_digest):
            journal.append(rows)
            taken.update(row.item_id for row in rows)
            digests.update(row.content_digest for row in rows)
        ids_by_digest = {
            digest: ids for digest, ids in ids_by_digest.items() if digest not in digests
        }
    note(f"--reuse {address}: {len(taken):,} items taken from there")
    left = [
        tuple(finding for finding in findings if finding.medium.item_id not in taken)
        for findings in work
    ]
    return [findings for findings in left if findings]
