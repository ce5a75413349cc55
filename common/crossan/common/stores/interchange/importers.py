"""Making stores from the feature files of other tools.

They are IISAN's tensors per item, one array with a list of ids, and MMRec's files
(`crossan.common.stores.interchange.arrays`).
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
from crossan.cache_schema.item_id import id_fault
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.console import note, progress
from crossan.common.stores.folders import create_store, store_folder
from crossan.common.stores.interchange.arrays import ArrayRows, ItemStates, mmrec_rows, npy_rows
from crossan.common.stores.interchange.tensor_archive import read_tensors
from crossan.common.stores.journal import ItemRow, Journal
from crossan.common.stores.values import encode_rows

__all__ = ["FORMATS", "ImportTarget", "ImportedStore", "import_features"]

_ITEMS_PER_BATCH = 1_024
_ITEMS_PER_SEGMENT = 16_384
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportTarget:
    """What the imported store is called, and where it goes."""

    cache: Path
    dataset: str
    modality: Modality
    backbone: str | None = None
    """What made the features; None where nobody knows."""
    licence: str | None = None
    """What the features may be used for; None where nobody knows."""
    layers: tuple[int, ...] | None = None
    """Numbers of the layers in the files. None counts from 0."""
    stored_dtype: str | None = None
    """None for that of an array, and float16 for IISAN's tensors."""
    ids: Path | None = None
    """The list of item ids, where the format has it in a file of its own."""


@dataclass(frozen=True, slots=True)
class _Features:
    """What the files of one format hold."""

    items: Callable[[], Iterator[ItemStates]]
    """Yields the items sorted by id, anew at each call."""
    stored_dtype: str
    files: tuple[Path, ...] = ()
    """Those whose digests are recorded."""


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
    features = _READERS[source_format](source, target)
    digest, shape, count = hashlib.sha256(), None, 0
    # The files are read twice, so that memory holds one item at a time. The digest of all values
    # is part of the identity, and so of the name of the folder that the first row goes to.
    for item_id, states in features.items():
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
            "id": target.backbone or "imported",
            "family": "imported",
            "revision": None,
            "values_sha256": digest.hexdigest(),
        },
        inputs={"imported": True},
        capture={"layers": list(layers), "pooling": "unknown", "compute_dtype": "float32"},
        stored_dtype=target.stored_dtype or features.stored_dtype,
        dim=shape[1],
    )
    folder = store_folder(target.cache, target.dataset, identity)
    create_store(folder, identity, np.zeros((4, *shape), np.float32))
    producer = {
        "crossan": version("crossan"),
        "imported_from": source_format,
        "dataset": target.dataset,
        **_provenance(features.files, target),
    }
    version_number = _write(folder, identity, features.items(), count, producer)
    return ImportedStore(store=folder, version=version_number, items=count)


def _provenance(files: Sequence[Path], target: ImportTarget) -> dict[str, Any]:
    """Return what is recorded of where features come from, and say what nobody named."""
    unnamed = [
        f"{what} (--{what})"
        for what, value in (("backbone", target.backbone), ("licence", target.licence))
        if value is None
    ]
    if unnamed:
        note(f"recorded as features of unknown {' and '.join(unnamed)}")
    licence = target.licence or _UNKNOWN
    return {
        "features_of": target.backbone or "unknown backbone",
        "backbone_licence": licence,
        "data_licence": licence,
        "imported_files": {path.name: _file_digest(path) for path in files},
    }


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def _of_rows(rows: ArrayRows) -> _Features:
    return _Features(rows.items, rows.narrowest_dtype(), rows.files())


def _iisan(source: Path, target: ImportTarget) -> _Features:
    del target
    if not source.is_dir():
        raise DataError(f"{source}: expected a folder of ITEM.pt files, found none")
    return _Features(lambda: _tensors_of(source), "float16")


def _tensors_of(source: Path) -> Iterator[ItemStates]:
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


_READERS: dict[str, Callable[[Path, ImportTarget], _Features]] = {
    "iisan": _iisan,
    "npy": lambda source, target: _of_rows(npy_rows(source, target.ids)),
    "mmrec": lambda source, target: _of_rows(mmrec_rows(source, target.modality.value, target.ids)),
}
FORMATS = tuple(_READERS)
"""The formats `crossan cache import` reads."""
