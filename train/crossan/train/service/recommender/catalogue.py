"""What a model in production may recommend: also what nobody has had yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from crossan.common.datasets import Dataset, KeptSequences
from crossan.common.stores import FeatureStore
from crossan.train.features.sources import Served
from crossan.train.settings import HybridSettings, RunSettings, TitleKnnSettings
from crossan.train.settings.tower import Tower

__all__ = ["with_unseen_items"]


def with_unseen_items(served: Served, dataset: Dataset, settings: RunSettings) -> Served:
    """Add the items of a dataset to its catalogue that the model knows by their content alone.

    A run's catalogue holds every item of a kept sequence. A model that reads hidden states or
    titles can rank an item before anybody had it, so in production each item that the stores serve
    belongs to it. For a model of item ids alone the catalogue stays as it is.

    Parameters
    ----------
    served
        The kept sequences, and the stores at the versions that are read.
    dataset, settings
        What the items are of, and the run's settings.
    """
    if settings.model.reads_hidden_states:
        known = _of_stores(served.stores)
    elif isinstance(settings.model, TitleKnnSettings | HybridSettings):
        known = None
    else:
        return served
    items = dataset.items()
    has_title = items["title"].is_valid().to_numpy(zero_copy_only=False)
    item_ids = np.array(items["item_id"].to_pylist(), dtype=np.str_)
    unseen = item_ids[has_title] if known is None else item_ids[np.isin(item_ids, known)]
    return replace(served, kept=_with_items(served.kept, unseen))


def _of_stores(stores: Mapping[Tower, FeatureStore]) -> npt.NDArray[np.str_]:
    """Return the items that every store knows and at least one has hidden states of."""
    known: npt.NDArray[np.str_] | None = None
    bare: npt.NDArray[np.str_] | None = None
    for store in stores.values():
        ids = np.asarray(store.item_ids)
        without = ids[~store.presence]
        known = ids if known is None else np.intersect1d(known, ids, assume_unique=True)
        bare = without if bare is None else np.intersect1d(bare, without, assume_unique=True)
    assert known is not None
    assert bare is not None
    return np.setdiff1d(known, bare, assume_unique=True)


def _with_items(kept: KeptSequences, unseen: npt.NDArray[np.str_]) -> KeptSequences:
    """Return the same sequences as rows of a catalogue that holds more items."""
    item_ids = np.union1d(kept.item_ids, unseen)
    rows = np.searchsorted(item_ids, kept.item_ids)
    return replace(kept, item_ids=item_ids, items=rows[kept.items].astype(np.int64))
