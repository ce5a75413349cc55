"""A sparse table of catalogue items by catalogue items, kept as the weights of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.common.heartbeat import beat

__all__ = ["ItemPairs", "best_pairs", "carry_item_pairs", "item_pairs_of"]

_NAMES = ("gains", "columns", "begins")
_ITEMS_PER_BLOCK = 256
"""Rows computed at a time: no table of items by items is ever dense, nor whole before it is cut."""


class ItemPairs(nn.Module):
    """What an item of a history adds to the scores of other items.

    The pairs lie row after row, as in a `scipy.sparse.csr_array`. How many there
    are depends on the data.

    Parameters
    ----------
    table
        Row i holds what item i adds to every item, ``(items, items)``.
    follows_content
        Whether the pairs follow from what items are, so that they are known for an item that
        no training part holds.
    """

    gains: Tensor
    """What each pair adds, ``(pairs,)`` float32."""
    columns: Tensor
    """The item that each pair adds to, ``(pairs,)`` int32."""
    begins: Tensor
    """Where the pairs of each row begin, ``(items + 1,)`` int64."""

    def __init__(self, table: sparse.csr_array, *, follows_content: bool = False) -> None:
        super().__init__()
        self.follows_content = follows_content
        # First, as the dtype of a model is that of its first weight.
        self.register_buffer("gains", torch.zeros(0))
        self.register_buffer("columns", torch.zeros(0, dtype=torch.int32))
        self.register_buffer("begins", torch.zeros(1, dtype=torch.int64))
        self.hold(table)

    @property
    def item_count(self) -> int:
        """Items of the catalogue."""
        return len(self.begins) - 1

    def table(self) -> sparse.csr_array:
        """Return the table, ``(items, items)`` float64, on the CPU."""
        gains, columns, begins = (getattr(self, name).numpy(force=True) for name in _NAMES)
        shape = (self.item_count, self.item_count)
        return sparse.csr_array((gains.astype(np.float64), columns, begins), shape=shape)

    def hold(self, table: sparse.csr_array) -> None:
        """Hold another table, of any number of items and pairs."""
        table = sparse.csr_array(table)
        table.sum_duplicates()
        device = self.gains.device
        self.gains = torch.from_numpy(table.data.astype(np.float32)).to(device)
        self.columns = torch.from_numpy(table.indices.astype(np.int32)).to(device)
        self.begins = torch.from_numpy(table.indptr.astype(np.int64)).to(device)


def best_pairs(
    rows_of: Callable[[slice], sparse.csr_array], item_count: int, neighbours: int
) -> sparse.csr_array:
    """Return the pairs of each item with the others that it is most alike.

    Parameters
    ----------
    rows_of
        Returns how alike some items are to all, ``(rows, items)``, for a range of rows.
    item_count
        Items of the catalogue.
    neighbours
        Pairs to keep of each item. Pairs that equal the last one are kept too, so that no
        order of the catalogue decides between them. An item is no pair of itself.
    """
    blocks = [sparse.csr_array((0, item_count))]
    for start in range(0, item_count, _ITEMS_PER_BLOCK):
        beat()
        rows = slice(start, min(start + _ITEMS_PER_BLOCK, item_count))
        blocks.append(_cut(rows_of(rows), start, neighbours))
    return sparse.csr_array(sparse.vstack(blocks))


def _cut(block: sparse.csr_array, start: int, neighbours: int) -> sparse.csr_array:
    """Return the largest values of each row of a block that begins at a catalogue row."""
    block = sparse.csr_array(block)
    is_kept = block.data > 0
    is_kept &= block.indices != start + np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
    for first, end in zip(block.indptr[:-1], block.indptr[1:], strict=True):
        values = block.data[first:end][is_kept[first:end]]
        if len(values) > neighbours:
            least = np.partition(values, -neighbours)[-neighbours]
            is_kept[first:end] &= block.data[first:end] >= least
    kept_before = np.concatenate([[0], np.cumsum(is_kept)])
    parts = (block.data[is_kept], block.indices[is_kept], kept_before[block.indptr])
    return sparse.csr_array(parts, shape=block.shape)


def item_pairs_of(model: nn.Module) -> dict[str, ItemPairs]:
    """Return the tables of item pairs in a model, by their names among its weights."""
    return {name: part for name, part in model.named_modules() if isinstance(part, ItemPairs)}


def carry_item_pairs(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    old_items: np.ndarray,
    new_items: np.ndarray,
    source: str,
) -> dict[str, Tensor]:
    """Move the item pairs of a run to another catalogue, and give a model room for them.

    A pair of two items that both catalogues hold is the run's. What an item that
    came since adds is nothing, or, where the pairs follow from content, what the
    model has for it already.

    Parameters
    ----------
    model
        The model on the new catalogue, whose tables become as large as the pairs need.
    weights
        Those of the run, by name.
    old_items, new_items
        Item ids of both catalogues, ``(items,)``, sorted.
    source
        Where the weights come from, for the error.

    Returns
    -------
    dict[str, Tensor]
        The weights of the run with the pairs of the new catalogue.

    Raises
    ------
    StoreIntegrityError
        The weights hold no table of the old catalogue.
    """
    carried = dict(weights)
    for name, pairs in item_pairs_of(model).items():
        prefix = f"{name}." if name else ""
        table = _recorded_table(weights, prefix, len(old_items), source)
        moved = _moved(table, old_items, new_items)
        if pairs.follows_content:
            moved = moved + _of_newcomers(pairs.table(), ~np.isin(new_items, old_items))
        pairs.hold(moved)
        carried |= {f"{prefix}{part}": getattr(pairs, part) for part in _NAMES}
    return carried


def _recorded_table(
    weights: Mapping[str, Tensor], prefix: str, item_count: int, source: str
) -> sparse.csr_array:
    """Return a table that a checkpoint holds, which may be anybody's."""
    names = [f"{prefix}{part}" for part in _NAMES]
    missing = [name for name in names if name not in weights or weights[name].ndim != 1]
    if missing:
        raise StoreIntegrityError(f"{source}: expected item pairs {missing[0]}, found none")
    gains, columns, begins = (weights[name].numpy(force=True) for name in names)
    is_whole = (
        len(begins) == item_count + 1
        and len(gains) == len(columns)
        and begins.dtype.kind == columns.dtype.kind == "i"
        and gains.dtype.kind == "f"
        and begins[0] == 0
        and begins[-1] == len(gains)
        and bool((np.diff(begins) >= 0).all())
        and bool(((columns >= 0) & (columns < item_count)).all())
        and bool(np.isfinite(gains).all())
    )
    if not is_whole:
        raise StoreIntegrityError(
            f"{source}: expected the pairs of {item_count:,} items in {prefix}gains,"
            f" {prefix}columns and {prefix}begins, found others"
        )
    shape = (item_count, item_count)
    return sparse.csr_array((gains.astype(np.float64), columns, begins), shape=shape)


def _moved(
    table: sparse.csr_array, old_items: np.ndarray, new_items: np.ndarray
) -> sparse.csr_array:
    """Return a table with its pairs at the rows of another catalogue."""
    new_rows = np.searchsorted(new_items, old_items).clip(max=len(new_items) - 1)
    is_there = new_items[new_rows] == old_items
    pairs = table.tocoo()
    rows, columns = pairs.coords
    is_kept = is_there[rows] & is_there[columns]
    places = (new_rows[rows[is_kept]], new_rows[columns[is_kept]])
    return sparse.csr_array((pairs.data[is_kept], places), shape=(len(new_items),) * 2)


def _of_newcomers(table: sparse.csr_array, is_new: np.ndarray) -> sparse.csr_array:
    """Return the pairs of a table that one new item is part of, or two."""
    pairs = table.tocoo()
    rows, columns = pairs.coords
    is_kept = is_new[rows] | is_new[columns]
    places = (rows[is_kept], columns[is_kept])
    return sparse.csr_array((pairs.data[is_kept], places), shape=table.shape)
