"""Rows of a store that a job is about to supersede, because the items contain something else now.

An edited title is an everyday reason. Where most items differ the store belongs
to another dataset of the same name, whose rows must not be taken from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from crossan.cache_schema.errors import IncompatibleError
from crossan.common.console import note
from crossan.common.contents.comparing import is_foreign
from crossan.common.datasets import Dataset
from crossan.extract.job.worklist import Finding, Recorded

__all__ = ["Replaced", "find_replaced", "joined", "note_replaced", "refuse_foreign"]


@dataclass(frozen=True, slots=True)
class Replaced:
    """Items whose recorded content is not the dataset's, among those that a job looked at."""

    item_ids: tuple[str, ...]
    """Those with another title or file, or with none any more."""
    compared_count: int
    """Items of which the store records a content."""

    @property
    def is_foreign(self) -> bool:
        """Whether the store seems to be that of another dataset."""
        return is_foreign(len(self.item_ids), self.compared_count)

    @property
    def share(self) -> str:
        """How many they are, for people."""
        return f"{len(self.item_ids):,} of {self.compared_count:,} items"


def find_replaced(findings: Iterable[Finding], recorded: Recorded) -> Replaced:
    """Return which items contain something else than what a store records of them.

    An item of which the store records no content, having met none, replaces nothing.
    """
    replaced, compared_count = [], 0
    for finding in findings:
        digest, _ = recorded.get(finding.medium.item_id, (None, None))
        if digest is not None:
            compared_count += 1
            if finding.digest != digest:
                replaced.append(finding.medium.item_id)
    return Replaced(tuple(replaced), compared_count)


def joined(parts: Sequence[Replaced]) -> Replaced:
    """Return what several batches replace together."""
    item_ids = chain.from_iterable(part.item_ids for part in parts)
    return Replaced(tuple(sorted(item_ids)), sum(part.compared_count for part in parts))


def refuse_foreign(replaced: Replaced, dataset: Dataset, store: Path) -> None:
    """Refuse a store that was made from other contents than a dataset has.

    Parameters
    ----------
    replaced
        As `find_replaced` gives it.
    dataset, store
        What is extracted, and to where.

    Raises
    ------
    IncompatibleError
        More items differ than not.
    """
    if replaced.is_foreign:
        cache = store.parents[2]
        raise IncompatibleError(
            f"{store}: this store was made from other contents than dataset {dataset.name} in"
            f" {dataset.root} has: {replaced.share} have another title or file, or none now,"
            f" first: {replaced.item_ids[0]}"
            "\n  if it is the same dataset with other contents: --replace-contents",
            remedy=f"Give this dataset a cache of its own: --cache {cache}-2",
        )


def note_replaced(replaced: Replaced, store: Path) -> None:
    """Say which rows of a store are replaced, if any."""
    if replaced.item_ids:
        note(
            f"{store}: replacing the rows of {replaced.share}, whose title or file is another one"
            f" now, first: {replaced.item_ids[0]}"
        )
