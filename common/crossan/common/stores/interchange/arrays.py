"""Features in one NumPy array, a row for every item, as MMRec and many others keep them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import DataError
from crossan.cache_schema.item_id import id_fault, shortened
from crossan.common.console import note
from crossan.common.datasets.item_numbers import MAPPING_FILE, ids_by_number
from crossan.common.datasets.tables import column_names, read_text

__all__ = ["ArrayRows", "ItemStates", "mmrec_rows", "npy_rows"]

ItemStates = tuple[str, npt.NDArray[np.float32]]
"""An item id and the item's hidden states, ``(layer, dim)``."""

_NUMBER = "itemID"
_BLOCK_BYTES = 2**25


@dataclass(frozen=True, slots=True)
class ArrayRows:
    """An array on disk and whose each of its rows is."""

    path: Path
    array: npt.NDArray[Any]
    """``(items, dim)`` or ``(items, layers, dim)`` of floats, mapped into memory and not read."""
    ids: Sequence[str]
    """The item of each row."""
    ids_file: Path | None
    """What names the items; None where their ids are the numbers of the rows."""

    def files(self) -> tuple[Path, ...]:
        """Return the files that the features come from."""
        return (self.path,) if self.ids_file is None else (self.path, self.ids_file)

    def narrowest_dtype(self) -> str:
        """Return the type of a store that keeps the values as they are, up to float32."""
        return "float16" if self.array.dtype.itemsize <= np.float16().itemsize else "float32"

    def items(self) -> Iterator[ItemStates]:
        """Yield the items by id, their rows read in blocks.

        The digest of a store must not depend on the order of the rows in a file.
        """
        order = sorted(range(len(self.ids)), key=lambda row: self.ids[row])
        row_bytes = int(np.prod(self.array.shape[1:])) * np.float32().itemsize
        # Of an array in Fortran order each value of a row lies on another page: a block of rows
        # reads a page once for all of them.
        size = max(1, _BLOCK_BYTES // max(1, row_bytes))
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            with np.errstate(over="ignore", invalid="ignore"):  # an overflow is quarantined
                block = np.asarray(self.array[rows], dtype=np.float32)
            states = np.ascontiguousarray(block).reshape(len(rows), -1, block.shape[-1])
            yield from zip((self.ids[row] for row in rows), states, strict=True)


def npy_rows(path: Path, ids_file: Path | None) -> ArrayRows:
    """Open an array whose items are listed in a file.

    Parameters
    ----------
    path
        A ``.npy`` file.
    ids_file
        One id a line in the order of the rows, or MMRec's table of whose each number is.

    Raises
    ------
    DataError
        No list, or files that do not fit each other. Nothing is unpickled.
    """
    if ids_file is None:
        raise DataError(
            f"{path}: expected a list of item ids",
            remedy="Name it: --ids FILE, one id a line, or an i_id_mapping.csv",
        )
    return _array_rows(path, _listed_ids(ids_file), ids_file)


def mmrec_rows(folder: Path, modality: str, ids_file: Path | None) -> ArrayRows:
    """Open the array of one modality in a folder of MMRec's.

    Row i is the item with number i. Without a table of whose each number is, the
    numbers are the ids, as they are of a dataset that is imported from the folder.
    """
    path = folder / f"{modality}_feat.npy"
    mapping = ids_file or folder / MAPPING_FILE
    if ids_file is None and not mapping.exists():
        array = _opened(path)
        note(f"{folder}: no {MAPPING_FILE}, so the ids of the items are the numbers of their rows")
        return _checked(ArrayRows(path, array, [str(row) for row in range(len(array))], None))
    return _array_rows(path, _mapped_ids(mapping), mapping)


def _listed_ids(path: Path) -> list[str]:
    text = read_text(path).decode()
    if _NUMBER in text.partition("\n")[0] and _NUMBER in column_names(path):
        return _mapped_ids(path)
    # Not splitlines(): an id can hold a character such as U+2028.
    ids = text.removesuffix("\n").split("\n")
    return [item_id.removesuffix("\r") for item_id in ids]


def _mapped_ids(path: Path) -> list[str]:
    """Return the item ids in the order of MMRec's numbers."""
    by_number = ids_by_number(path, _NUMBER)
    ordered = [by_number.get(str(number)) for number in range(len(by_number))]
    if None in ordered:
        raise DataError(
            f"{path}: expected {_NUMBER} from 0 to {len(ordered) - 1} once each, "
            f"found none with {ordered.index(None)}"
        )
    return [item_id for item_id in ordered if item_id is not None]


def _array_rows(path: Path, ids: Sequence[str], ids_file: Path) -> ArrayRows:
    array = _opened(path)
    if array.ndim and len(array) != len(ids):
        what = f"{len(array):,} rows for the {len(ids):,} ids of {ids_file}"
        if len(array) < len(ids):
            what += f": item {len(array) + 1:,}, {shortened(ids[len(array)])}, has no features"
        raise DataError(f"{path}: expected a row for each item, found {what}")
    if len(set(ids)) != len(ids) or "" in ids:
        raise DataError(f"{ids_file}: expected each item id once, found one repeated or empty")
    for number, item_id in enumerate(ids, 1):
        fault = id_fault(item_id, "an item id")
        if fault is not None:
            raise DataError(f"{ids_file}, item {number:,}: {fault}")
    return _checked(ArrayRows(path, array, ids, ids_file))


def _checked(rows: ArrayRows) -> ArrayRows:
    array = rows.array
    if array.ndim not in {2, 3} or array.dtype.kind != "f" or not array.size:
        raise DataError(
            f"{rows.path}: expected floats of shape (items, dim) or (items, layers, dim), "
            f"found {array.dtype} {array.shape}"
        )
    return rows


def _opened(path: Path) -> npt.NDArray[Any]:
    """Map an array into memory."""
    try:
        # Not `np.load`, which opens archives and pickles too.
        array: npt.NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError) as error:
        if "Python objects" in str(error):
            raise DataError(
                f"{path}: expected an array of floats, found Python objects, which stay pickled",
                remedy="Write it as floats where you trust it: numpy.save(FILE, it.astype('f4'))",
            ) from error
        raise DataError(f"{path}: expected a NumPy array: {error}") from error
    return array
