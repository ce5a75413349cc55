"""Datasets from Python."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crossan.api.identifiers import rows_of
from crossan.common.datasets import Dataset as _Folder
from crossan.common.datasets import open_dataset as _open_folder

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Dataset", "open_dataset"]


def open_dataset(path: Path | str) -> Dataset:
    """Open a dataset folder, as `crossan data import` or `crossan data sample` wrote it.

    Parameters
    ----------
    path
        The folder.

    Raises
    ------
    UsageError
        There is no dataset.
    DataError
        The folder does not describe one.

    Examples
    --------
    >>> dataset = crossan.api.open_dataset("data")
    >>> dataset.name
    'small'
    >>> len(dataset.users), dataset.items.num_rows
    (150, 40)
    """
    return Dataset(_open_folder(path))


class Dataset:
    """An opened dataset, as `open_dataset` gives it.

    Tables are read when they are first asked for, and kept.
    """

    def __init__(self, folder: _Folder) -> None:
        self._folder = folder

    def __repr__(self) -> str:
        """Return name, folder and counts."""
        counts = self._folder.counts
        return (
            f"<Dataset {self.name} at {self.path}: {counts.get('users', 0):,} users,"
            f" {counts.get('items', 0):,} items, {counts.get('interactions', 0):,} interactions>"
        )

    @property
    def name(self) -> str:
        """Name of the dataset, by which stores are found."""
        return self._folder.name

    @property
    def path(self) -> Path:
        """The folder."""
        return self._folder.root

    @property
    def licence(self) -> str:
        """What the import noted about the licence."""
        return self._folder.licence

    @property
    def digest(self) -> str:
        """SHA-256 over the values of both tables, 64 hexadecimal digits."""
        return self._folder.digest

    @cached_property
    def interactions(self) -> pa.Table:
        """``user_id``, ``item_id`` and ``timestamp`` in milliseconds since 1970, in file order.

        A dataset with a split of its own has ``part``, too: 0 for training, 1 for validation, 2 for
        test.

        Examples
        --------
        >>> dataset.interactions.column_names
        ['user_id', 'item_id', 'timestamp']
        """
        return self._folder.interactions()

    @cached_property
    def items(self) -> pa.Table:
        """``item_id``, ``title``, and the paths ``image``, ``video`` and ``audio``, in file order.

        Examples
        --------
        >>> dataset.items.column("item_id")[0].as_py()
        'i00'
        """
        return self._folder.items()

    @cached_property
    def users(self) -> list[str]:
        """The ids of all users, sorted.

        Examples
        --------
        >>> dataset.users[:2]
        ['u000', 'u001']
        """
        return sorted(self.interactions.column("user_id").unique().to_pylist())

    def titles(self, item_ids: object) -> list[str | None]:
        """Return the titles of items, None for one without.

        Parameters
        ----------
        item_ids
            Their ids: a list, or an array of NumPy or Arrow.

        Raises
        ------
        UnknownIdError
            The dataset has no such item.

        Examples
        --------
        >>> dataset.titles(["i00"])
        ['title of i00']
        """
        rows = rows_of(item_ids, self._item_ids, "item", f"the dataset {self.name}")
        sorted_titles = self._sorted_titles
        return [sorted_titles[row] for row in rows.tolist()]

    @cached_property
    def _item_ids(self) -> np.ndarray:
        return np.sort(np.array(self.items.column("item_id").to_pylist(), dtype=np.str_))

    @cached_property
    def _sorted_titles(self) -> list[str | None]:
        titles: list[str | None] = self.items.sort_by("item_id").column("title").to_pylist()
        return titles
