"""What the trials of a sweep read, checked once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossan.cache_schema.modality import Modality
from crossan.common.datasets import Dataset, open_dataset
from crossan.train.features.choosing import choose_stores
from crossan.train.features.sources import Served, lock_entries
from crossan.train.models.item_encoder import require_modalities, require_single_stores
from crossan.train.runs.contents import Comparing, Verdicts, counts_of, serve, write_comparison
from crossan.train.settings import RunSettings
from crossan.train.settings.tower import modality_of

__all__ = ["SweepInputs", "require_trainable"]


@dataclass(frozen=True, slots=True)
class SweepInputs:
    """The dataset and the stores of a sweep's base settings."""

    dataset: Dataset
    served: Served
    verdicts: Verdicts

    def entries(self, base: RunSettings) -> dict[str, dict[str, Any]]:
        """Return the entries of the stores as ``cache.lock.json`` has them, by modality."""
        return lock_entries(self.served.stores, base.model.kept_layers())

    def contents(self) -> dict[str, dict[str, int]]:
        """Return how the items' contents compare with the stores, for ``sweep.json``."""
        return counts_of(self.verdicts)

    def write_comparison(self, path: Path) -> None:
        """Write what was compared, which no trial then repeats."""
        write_comparison(path, self.dataset, self.served, self.verdicts)


def require_trainable(
    settings: Sequence[RunSettings], base: RunSettings, *, may_be_stale: bool
) -> SweepInputs:
    """Return what trials read, after checks of all that would stop every trial.

    Parameters
    ----------
    settings
        Those of trials.
    base
        Settings that all trials share.
    may_be_stale
        Whether items may have other contents than those that the stores were made from.

    Raises
    ------
    CrossanError
        Items that cannot be served or are stale, or stores that do not fit the settings.
    """
    dataset = open_dataset(base.data.dataset)
    reading = [each for each in settings if each.model.reads_hidden_states]
    stores = choose_stores(base.data, dataset) if reading else {}
    served, verdicts = serve(dataset, stores, base.data, comparing=Comparing(may_be_stale))
    for each in reading:
        chosen = each.data.modality or tuple(Modality)
        towers = [tower for tower in stores if modality_of(tower) in chosen]
        require_modalities(each.model, len(towers))
        require_single_stores(each.model, towers)
    return SweepInputs(dataset, served, verdicts)
