"""Making stores from the feature files of other tools.

They are IISAN's tensors per item, one array with a list of ids, and MMRec's files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import DataError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.item_id import id_fault, shortened
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.console import progress
from crossan.common.datasets.columns import ids_of
from crossan.common.datasets.tables import column_names, read_table, read_text
from crossan.common.stores.folders import create_store, store_folder
from crossan.common.stores.interchange.tensor_archive import read_tensors
from crossan.common.stores.journal import ItemRow, Journal
from crossan.common.stores.values import encode_rows

__all__ = ["FORMATS", "ImportTarget", "ImportedStore", "import_features"]

_ITEMS_PER_BATCH = 1_024
_ITEMS_PER_SEGMENT = 16_384
ItemStates = tuple[str, npt.NDArray[np.float32]]
"""An item id and the item's hidden states, ``(layer, dim)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportTarget:
    """What the imported store is called, and where it goes."""

    cache: Path
    dataset: str
    modality: Modality
    backbone: str
    layers: tuple[int, ...] | None = None
    """Numbers of the layers in the files. None counts from 0."""
    stored_dtype: str = "float16"
    ids: Path | None = None
    """The list of item ids, where the format has it in a file of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedStore:
    """The store that was made."""

    store: Path
    version: int
    items: int


def import_features(source: Path, source_format: str, target: ImportTarget) -> ImportedStore:
    """Write a store of the features in ``source``.

    An import that was cut off goes on where it stopped. One that is finished already
    writes nothing.

    The identity holds the digest of the values instead of a recipe, so nothing can be
    appended to such a store by extraction.

    Raises
    ------
    DataError
        A file is not what the format says. The message names it.
    """
    read = FORMATS[source_format]
    digest, shape, count = hashlib.sha256(), None, 0
    # The files are read twice, so that memory holds one item at a time. The digest of all values
    # is part of the identity, and so of the name of the folder that the first row goes to.
    for item_id, states in read(source, target):
        fault = id_fault(item_id, "an item id")
        if fault is not None:
            raise DataError(f"{source}: {fault}")
        shape = states.shape if shape is None else shape
        if states.shape != shape:
            raise DataError(
                f"{source}: item {item_id}: expected hidden states {shape}, found {states.shape}"
            )
        digest.update(item_id.encode() + b"\0" + states.tobytes())
        count += 1
    if shape is None:
        raise DataError(f"{source}: expected features of items, found none")
    layers = target.layers or tuple(range(shape[0]))
    if len(layers) != shape[0]:
        raise DataError(
            f"{source}: expected {len(layers)} layers ({', '.join(map(str, layers))}), "
            f"found {shape[0]}"
        )
    identity = StoreIdentity(
        modality=target.modality,
        backbone={
            "id": target.backbone,
            "family": "imported",
            "revision": None,
            "values_sha256": digest.hexdigest(),
        },
        inputs={"imported": True},
        capture={"layers": list(layers), "pooling": "unknown", "compute_dtype": "float32"},
        stored_dtype=target.stored_dtype,
        dim=shape[1],
    )
    folder = store_folder(target.cache, target.dataset, identity)
    create_store(folder, identity, np.zeros((4, *shape), np.float32))
    producer = {
        "crossan": version("crossan"),
        "imported_from": source_format,
        "dataset": target.dataset,
    }
    version_number = _write(folder, identity, read(source, target), count, producer)
    return ImportedStore(store=folder, version=version_number, items=count)


def _write(
    folder: Path,
    identity: StoreIdentity,
    items: Iterator[ItemStates],
    count: int,
    producer: dict[str, Any],
) -> int:
    from crossan.common.stores.reader import open_store
    from crossan.common.stores.versions import list_versions

    journal = Journal.open(folder, "import")
    try:
        # What an earlier, cut-off import has written: journalled, or published already.
        known = set(journal.entries)
        if list_versions(folder):
            known |= set(open_store(folder).item_ids.tolist())
        with progress("import", count, "items") as shown:
            batch: list[ItemStates] = []
            for item in items:
                shown.advance()
                if item[0] not in known:
                    batch.append(item)
                if len(batch) == _ITEMS_PER_BATCH:
                    journal.append(_encoded(batch, identity))
                    batch.clear()
                if journal.row_count >= _ITEMS_PER_SEGMENT:
                    journal.publish(producer)
            if batch:
                journal.append(_encoded(batch, identity))
        return journal.publish(producer)
    finally:
        journal.close()


def _encoded(batch: Sequence[ItemStates], identity: StoreIdentity) -> list[ItemRow]:
    stored, problems = encode_rows(
        np.stack([rows for _, rows in batch]), identity.stored_dtype, identity.layers
    )
    return [
        ItemRow(item_id, None, ItemStatus.OK, None, row)
        if problem is None
        else ItemRow(item_id, None, ItemStatus.QUARANTINED, f"not-finite: {problem}")
        for (item_id, _), row, problem in zip(batch, stored, problems, strict=True)
    ]


def _iisan(source: Path, target: ImportTarget) -> Iterator[ItemStates]:
    del target
    if not source.is_dir():
        raise DataError(f"{source}: expected a folder of ITEM.pt files, found none")
    for path in sorted(source.glob("*.pt"), key=lambda path: path.stem):
        yield path.stem, _states(read_tensors(path), path)


def _states(tensors: Any, path: Path) -> npt.NDArray[np.float32]:  # noqa: ANN401 - arrays, nested
    """Return hidden states ``(layer, dim)`` from what one file of IISAN holds.

    It holds a tensor ``(layer, dim)`` or ``(layer, 1, dim)``, or a list or dict of one
    tensor per layer.
    """
    layers = list(tensors.values()) if isinstance(tensors, dict) else tensors
    try:
        if isinstance(layers, list):
            states = np.stack([np.squeeze(layer) for layer in layers])
        else:
            states = layers
    except ValueError as error:
        raise DataError(f"{path}: expected layers of one width, found {error}") from error
    if states.ndim == 3 and states.shape[1] == 1:  # a batch of one item
        states = states[:, 0]
    if states.ndim == 1:  # one layer
        states = states[None]
    if states.ndim != 2 or not states.size:
        raise DataError(
            f"{path}: expected hidden states (layers, dim), found a tensor {states.shape}"
        )
    return np.ascontiguousarray(states, dtype=np.float32)


def _npy(source: Path, target: ImportTarget) -> Iterator[ItemStates]:
    if target.ids is None:
        raise DataError(
            f"{source}: expected a list of item ids", remedy="Name it: --ids FILE, one id a line"
        )
    # Not splitlines(): an id can hold a character such as U+2028.
    ids = read_text(target.ids).decode().removesuffix("\n").split("\n")
    ids = [item_id.removesuffix("\r") for item_id in ids]
    yield from _rows_of_array(source, ids, target.ids)


def _mmrec(source: Path, target: ImportTarget) -> Iterator[ItemStates]:
    name = {Modality.TEXT: "text_feat.npy", Modality.IMAGE: "image_feat.npy"}.get(
        target.modality, f"{target.modality.value}_feat.npy"
    )
    mapping = target.ids or source / "i_id_mapping.csv"
    yield from _rows_of_array(source / name, _mapped_ids(mapping), mapping)


def _mapped_ids(path: Path) -> list[str]:
    """Return the item ids in the order of MMRec's numbers.

    They are in the column beside ``itemID``, or are the numbers themselves where there
    is no other column.
    """
    names = column_names(path)
    if names.count("itemID") != 1:
        raise DataError(
            f"{path}: expected a table with the column itemID, found {shortened(','.join(names))}"
        )
    # The first other column, or itemID itself.
    chosen = ["itemID", min(names, key=lambda name: name == "itemID")]
    table = read_table(path, chosen)
    numbers, ids = (
        ids_of(table.column(column), source=path, name=column).to_pylist() for column in chosen
    )
    by_number = dict(zip(numbers, ids, strict=True))
    ordered = [by_number.get(str(number)) for number in range(len(numbers))]
    if None in ordered:
        raise DataError(
            f"{path}: expected itemID from 0 to {len(numbers) - 1} once each, "
            "found numbers with a gap or a repeat"
        )
    return [item_id for item_id in ordered if item_id is not None]


def _rows_of_array(path: Path, ids: Sequence[str], list_path: Path) -> Iterator[ItemStates]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: expected a NumPy array: {error}") from error
    if array.ndim not in {2, 3} or array.dtype.kind != "f" or len(array) != len(ids):
        raise DataError(
            f"{path}: expected floats of shape ({len(ids)}, dim) or ({len(ids)}, layers, dim) "
            f"for the ids of {list_path}, found {array.dtype} {array.shape}"
        )
    if len(set(ids)) != len(ids) or "" in ids:
        raise DataError(f"{list_path}: expected each item id once, found one repeated or empty")
    for number, item_id in enumerate(ids, 1):
        fault = id_fault(item_id, "an item id")
        if fault is not None:
            raise DataError(f"{list_path}, item {number:,}: {fault}")
    # By id, as every format: the digest must not depend on the order of the rows in the file.
    for number in sorted(range(len(ids)), key=lambda number: ids[number]):
        states = np.asarray(array[number], dtype=np.float32)
        yield ids[number], np.ascontiguousarray(states.reshape(-1, states.shape[-1]))


FORMATS: dict[str, Callable[[Path, ImportTarget], Iterator[ItemStates]]] = {
    "iisan": _iisan,
    "npy": _npy,
    "mmrec": _mmrec,
}
"""How each format is read, items sorted by id."""
