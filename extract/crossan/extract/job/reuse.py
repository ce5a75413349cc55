"""``--reuse``: rows that somebody has computed already are journaled instead of computed."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Append the rows of the items whose content a store elsewhere holds; return the work that is left.

    Parameters
    ----------
    address
        Of a store, or of a cache that holds one under the same name.
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
    wanted: dict[str, list[str]] = {}
    for finding in (finding for findings in work for finding in findings):
        if finding.status is None and finding.digest is not None:
            wanted.setdefault(finding.digest, []).append(finding.medium.item_id)
    if not wanted:
        return list(work)
    donor = Donor.open(address, "/".join(folder.parts[-3:]), identity)
    taken: set[str] = set()
    for rows in donor.rows(wanted):
        journal.append(rows)
        taken.update(row.item_id for row in rows)
    note(f"--reuse {address}: {len(taken):,} items taken from there")
    left = [
        tuple(finding for finding in findings if finding.medium.item_id not in taken)
        for findings in work
    ]
    return [findings for findings in left if findings]
