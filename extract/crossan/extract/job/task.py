"""What one modality's job does in its store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import StoreNotFoundError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.console import note, progress
from crossan.common.contents.media_list import Medium, read_media
from crossan.common.datasets import Dataset, open_dataset
from crossan.common.stores import FeatureStore, create_store, open_store, read_canary, store_folder
from crossan.common.stores.canary import check_canary
from crossan.common.stores.growing.readable_items import readable_items
from crossan.common.stores.growing.repair import repair
from crossan.common.stores.surroundings import is_begun
from crossan.extract.job.batch_size import find_batch_size, settle_batch_size
from crossan.extract.job.canary import canary_features
from crossan.extract.job.plan import Batch, plan_batches
from crossan.extract.job.prepare import Encoder
from crossan.extract.job.quarantine import is_final
from crossan.extract.job.replacing import (
    Replaced,
    find_replaced,
    joined,
    note_replaced,
    refuse_foreign,
)
from crossan.extract.job.request import JobRequest
from crossan.extract.job.worklist import (
    Finding,
    Recorded,
    look_at,
    look_at_batches,
    take_first,
    unsettled,
)

__all__ = ["Task", "look", "newest", "recorded_in"]


@dataclass(frozen=True, slots=True)
class Task:
    """What one job does in one store, made by `Task.open`."""

    request: JobRequest
    encoder: Encoder
    dataset: Dataset
    media: list[Medium]
    identity: StoreIdentity
    folder: Path
    """Of the store, whether or not it has been begun."""
    started: float

    @classmethod
    def open(cls, request: JobRequest, encoder: Encoder) -> Task:
        """Read the dataset and name the store, writing nothing."""
        started = time.monotonic()
        dataset = open_dataset(request.dataset)
        identity = encoder.identity(
            request.stored_dtype, request.codec, is_clipped=request.clips is not None
        )
        folder = Path(store_folder(request.cache, dataset.name, identity))
        media = read_media(dataset, encoder.modality)
        return cls(request, encoder, dataset, media, identity, folder, started)

    def repair(self) -> bool:
        """Mend a damaged store, and return whether there was one to mend.

        What is left of its items is compared with the dataset first: a repair drops
        rows, and those of another dataset are not this job's to drop.

        Raises
        ------
        IncompatibleError
            The store was made from other contents, as that of another dataset.
        StoreIntegrityError
            It cannot be mended.
        """
        if not is_begun(self.folder):
            return False
        if not self.request.may_replace:
            # All items, whichever shard this is: the repair is of the whole store.
            recorded, everything = readable_items(self.folder), (tuple(self.media),)
            parts = [find_replaced(findings, recorded) for findings in self._look_at(everything)]
            refuse_foreign(joined(parts), self.dataset, self.folder)
        mended = repair(self.folder, self.identity, canary_features(self.encoder))
        note(f"repair {self.folder}: {mended.to_text()}")
        return True

    def begin_store(self) -> npt.NDArray[np.float32] | None:
        """Create the store, or check that the existing one has the same identity.

        Returns
        -------
        npt.NDArray[np.float32] | None
            The canary's features where they had to be computed.

        Raises
        ------
        IncompatibleError
            The existing store has another identity.
        """
        # Most jobs find a store, and need the canary only if there is something to append.
        if (self.folder / "store.json").exists():
            create_store(self.folder, self.identity, read_canary(self.folder))
            return None
        canary = canary_features(self.encoder)
        create_store(self.folder, self.identity, canary)
        return canary

    def check_canary(self, computed: npt.NDArray[np.float32] | None) -> None:
        """Compare the store's canary with what this machine computes.

        Parameters
        ----------
        computed
            The features that `begin_store` returned, None to compute them now.

        Raises
        ------
        IncompatibleError
            They differ by more than rounding.
        """
        check_canary(
            read_canary(self.folder),
            canary_features(self.encoder) if computed is None else computed,
            compute_dtype=str(self.identity.capture["compute_dtype"]),
            where=str(self.folder),
        )

    def settle_batch_size(self) -> int:
        """Return the batch size of the plan, recording it where the store has none yet."""
        return settle_batch_size(
            self.folder,
            self.encoder,
            self.request.batch_size,
            is_automatic=self.request.is_batch_size_automatic,
        )

    def planned_batch_size(self) -> int:
        """Return the batch size that a job would plan with, recording and trying nothing."""
        return find_batch_size(self.folder, self.encoder.modality, self.request.batch_size)

    def remaining(
        self, recorded: Recorded, batch_size: int, *, was_compared: bool = False
    ) -> tuple[list[tuple[Finding, ...]], Replaced]:
        """Return this shard's batches without the items that need nothing done.

        Every file of the shard is hashed, so that changed content is noticed.

        Parameters
        ----------
        recorded
            What the store and the journal say of their items.
        batch_size
            Of the plan.
        was_compared
            Whether the store is known to be this dataset's. After a repair too few of
            its items may be left to tell.

        Returns
        -------
        tuple
            The batches, and the items whose recorded content is not the dataset's.

        Raises
        ------
        IncompatibleError
            The store was made from other contents, as that of another dataset.
        """
        is_text = self.encoder.modality is Modality.TEXT
        # Only the backbone knows how long a title is, and whether a plan is needed shows without
        # it: looking at a title takes a microsecond.
        if is_text and not unsettled([look()(medium) for medium in self.media], recorded):
            return [], joined([])
        # The plan is of the whole dataset, done or not: an item keeps its batch mates, and so its
        # last digits, whatever an earlier job has done.
        plan = plan_batches(self.media, batch_size, self.encoder.text_length if is_text else None)
        batches = self.request.shard.take(plan)
        work, looked_at = [], []
        for findings in self._look_at(batches):
            work.append(unsettled(findings, recorded))
            looked_at.append(find_replaced(findings, recorded))
        replaced = joined(looked_at)
        if not (was_compared or self.request.may_replace):
            refuse_foreign(replaced, self.dataset, self.folder)
        note_replaced(replaced, self.folder)
        return take_first([findings for findings in work if findings], self.request.limit), replaced

    def _look_at(self, batches: Sequence[Batch]) -> Iterator[tuple[Finding, ...]]:
        item_count = sum(map(len, batches))
        with progress(f"look at {self.encoder.modality.value}", item_count, "items") as shown:
            worker_count, seconds = self.request.worker_count, self.request.limits.wall_seconds
            for findings in look_at_batches(batches, look(), worker_count, seconds):
                yield findings
                shown.advance(len(findings))

    def producer(self, batch_size: int) -> dict[str, Any]:
        """Return the provenance of a segment."""
        request = self.request
        return {
            **self.encoder.provenance(),
            "crossan": version("crossan"),
            "shard": str(request.shard),
            "batch_size": batch_size,
            "num_workers": request.worker_count,
            "dataset": self.dataset.name,
            "dataset_digest": self.dataset.digest,
            "data_licence": self.dataset.licence,
            "seconds": round(time.monotonic() - self.started, 3),
        }


def newest(folder: Path) -> FeatureStore | None:
    """Open a store's newest version, or return None where it has none."""
    try:
        return open_store(folder)
    except StoreNotFoundError:
        return None


def recorded_in(store: FeatureStore | None) -> Recorded:
    """Return what a store records of its items.

    Items whose fault may have been this machine's, or an earlier release's, are left
    out, to be tried again.
    """
    if store is None:
        return {}
    items = zip(store.item_ids, store.content_digests, store.status, store.reasons, strict=True)
    recorded = {}
    for item_id, digest, status, reason in items:
        if status != ItemStatus.QUARANTINED or is_final(digest, reason):
            recorded[str(item_id)] = (digest, ItemStatus(str(status)))
    return recorded


def look() -> Callable[[Medium], Finding]:
    """Return what finds the content digest of a medium without decoding it."""
    from crossan.common.contents.digests import content_digest, text_digest

    return partial(look_at, digest_of_file=content_digest, digest_of_text=text_digest)
