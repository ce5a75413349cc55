"""Stores of hidden states from Python."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from crossan.api.datasets import Dataset, open_dataset
from crossan.api.errors import UsageError
from crossan.api.identifiers import rows_of, sequence_of
from crossan.cache_schema.errors import StoreNotFoundError
from crossan.cache_schema.modality import Modality
from crossan.common.stores import FeatureStore, find_stores, open_store
from crossan.common.stores.folders import require_cache

if TYPE_CHECKING:
    import torch

__all__ = ["Cache", "Store", "open_cache"]


def open_cache(
    path: Path | str, dataset: Dataset | Path | str, *, stores: Sequence[Path | str] = ()
) -> Cache:
    """Open the stores that a cache folder has of a dataset.

    Parameters
    ----------
    path
        The cache folder, where `crossan-extract` wrote.
    dataset
        The dataset, or its folder.
    stores
        Folders of stores, for modalities of which the cache has several.

    Raises
    ------
    UsageError
        There is no such folder, or no dataset.

    Examples
    --------
    >>> cache = crossan.api.open_cache("cache", dataset)
    >>> list(cache)
    ['text', 'image']
    >>> cache["text"].rows(["i01", "i02"]).shape
    (2, 2, 8)
    """
    opened = dataset if isinstance(dataset, Dataset) else open_dataset(dataset)
    folder = require_cache(Path(path))
    if not folder.is_dir():
        raise UsageError(
            f"{folder}: expected a folder of stores, found none",
            remedy=f"Make it: {_extraction(opened, folder)}",
        )
    stores_of = {modality: find_stores(folder, opened.name, modality) for modality in Modality}
    named = [open_store(store) for store in stores]
    chosen = {store.identity.modality: [store.path] for store in named}
    return Cache(folder, opened, {**stores_of, **chosen})


def _extraction(dataset: Dataset, cache: Path) -> str:
    places = f"--dataset {shlex.quote(str(dataset.path))} --cache {shlex.quote(str(cache))}"
    return f"crossan-extract --modality all {places}"


class Cache(Mapping[str, "Store"]):
    """The stores of a dataset by modality, as `open_cache` gives them."""

    def __init__(
        self, path: Path, dataset: Dataset, found: Mapping[Modality, Sequence[Path]]
    ) -> None:
        self._path, self._dataset = path, dataset
        self._found = {modality: list(found[modality]) for modality in Modality if found[modality]}
        self._opened: dict[Modality, Store] = {}

    def __repr__(self) -> str:
        """Return the folder and the modalities."""
        return f"<Cache {self._path} of {self._dataset.name}: {', '.join(self) or 'no store'}>"

    def __iter__(self) -> Iterator[str]:
        """Return the modalities of which there is a store, in their fixed order."""
        return iter([modality.value for modality in self._found])

    def __len__(self) -> int:
        """Return the number of modalities of which there is a store."""
        return len(self._found)

    def __contains__(self, modality: object) -> bool:
        """Whether there is a store of a modality."""
        return modality in list(self)

    def get(self, modality: str, default: Any = None) -> Store | Any:  # noqa: ANN401 - any
        """Return the store of a modality, or something else where there is none.

        Examples
        --------
        >>> cache.get("audio") is None
        True
        """
        return self[modality] if modality in self else default  # noqa: SIM401 - this is get

    def __getitem__(self, modality: str) -> Store:
        """Return the store of a modality: ``text``, ``image``, ``video`` or ``audio``.

        Raises
        ------
        StoreNotFoundError
            There is none.
        UsageError
            There are several.
        """
        if modality not in self:
            modalities = ", ".join(self) or "none"
            raise StoreNotFoundError(
                f"{self._path}: expected a store of {modality!r:.40} for dataset {self._dataset.name},"
                f" found {modalities}",
                remedy=_extraction(self._dataset, self._path),
            )
        one = Modality(modality)
        if one not in self._opened:
            paths = self._found[one]
            if len(paths) > 1:
                listed = "\n  ".join(map(str, paths))
                raise UsageError(
                    f"{self._path}: {len(paths)} {modality} stores to choose from\n  {listed}",
                    remedy=f"Name one: open_cache(..., stores=['{paths[0]}'])",
                )
            self._opened[one] = Store(open_store(paths[0]))
        return self._opened[one]


class Store:
    """The hidden states of a dataset's items in one modality."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store

    def __repr__(self) -> str:
        """Return backbone, folder and sizes."""
        return (
            f"<Store {self.modality} of {self.backbone} at {self.path}: {len(self.items):,} items,"
            f" layers {list(self.layers)}, dim {self.dim}, {self.dtype}>"
        )

    @property
    def path(self) -> Path:
        """The folder."""
        return self._store.path

    @property
    def modality(self) -> str:
        """``text``, ``image``, ``video`` or ``audio``."""
        return self._store.identity.modality.value

    @property
    def backbone(self) -> str:
        """Name of the model that computed the hidden states."""
        return str(self._store.identity.backbone.get("id", "unknown"))

    @property
    def fingerprint(self) -> str:
        """What the hidden states are, as a digest: two equal ones hold the same numbers."""
        return self._store.fingerprint

    @property
    def version(self) -> int:
        """Version of the store that is read, its newest when it was opened."""
        return self._store.version

    @property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the kept layers, lowest first; 0 is the embedding."""
        return self._store.layers

    @property
    def dim(self) -> int:
        """Width of a hidden state."""
        return self._store.dim

    @property
    def dtype(self) -> str:
        """What the numbers are stored in: ``float16``, ``bfloat16`` or ``float32``."""
        return self._store.identity.stored_dtype

    @cached_property
    def items(self) -> list[str]:
        """The ids of all items that the store knows, sorted."""
        ids: list[str] = self._store.item_ids.tolist()
        return ids

    def rows(
        self, item_ids: object, *, layers: Sequence[int] | None = None
    ) -> npt.NDArray[np.floating[Any]]:
        """Return the hidden states of items as a NumPy array, ``(items, layer, dim)``.

        Numbers have the dtype of the store, float32 where that is bfloat16, which
        NumPy does not know. The row of an item without hidden states is NaN, see
        `presence`.

        Parameters
        ----------
        item_ids
            Their ids; repeats are allowed, and the order is kept.
        layers
            Layer numbers to give, in this order; None for all that are kept.

        Raises
        ------
        UnknownIdError
            The store does not know an item.
        UsageError
            A layer that is not kept.
        StoreIntegrityError
            The bytes are not those that were written.

        Examples
        --------
        >>> cache["text"].rows(["i02", "i01"], layers=[1]).dtype
        dtype('float16')
        """
        return self._store.read(self._rows(item_ids), _layers(layers))

    def tensor(self, item_ids: object, *, layers: Sequence[int] | None = None) -> torch.Tensor:
        """Return the hidden states of items as a torch tensor on the CPU, in the stored dtype.

        bfloat16 stays bfloat16. Parameters, shape and errors are those of `rows`.

        Examples
        --------
        >>> cache["image"].tensor(["i01"]).shape
        torch.Size([1, 2, 8])
        """
        import torch

        states = torch.from_numpy(self.rows(item_ids, layers=layers))
        # Exact: the float32 that was decoded is the bfloat16 with zeros behind it.
        return states.to(torch.bfloat16) if self.dtype == "bfloat16" else states

    def status(self, item_ids: object) -> list[str]:
        """Return what the store knows of items.

        ``ok``, ``absent`` (the item has no such medium), ``missing`` (its file was not there) or
        ``quarantined`` (its file could not be read).

        Examples
        --------
        >>> cache["text"].status(["i01"])
        ['ok']
        """
        statuses: list[str] = self._store.status[self._rows(item_ids)].tolist()
        return statuses

    def presence(self, item_ids: object) -> npt.NDArray[np.bool_]:
        """Return whether items have hidden states, ``(items,)`` bool.

        Examples
        --------
        >>> cache["text"].presence(["i01"])
        array([ True])
        """
        return self._store.presence[self._rows(item_ids)]

    def _rows(self, item_ids: object) -> npt.NDArray[np.int64]:
        store = self._store
        where = f"the {self.modality} store {self.path}"
        return rows_of(item_ids, store.item_ids, "item", where, store.deleted_ids)


def _layers(layers: object) -> list[int] | None:
    return None if layers is None else sequence_of(layers, "layer numbers")
