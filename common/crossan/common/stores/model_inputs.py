"""What backbones take of items, token ids or pixels, kept so that media are decoded once.

A folder holds the inputs of one modality, prepared in one way. It only grows, by
parts of two files each: the arrays of some items one behind the other, and a
record that says where each begins, from what content it was made, and its CRC32C.
The record is written last, under a name that begins with the SHA-256 of its own
bytes, so a part is there whole or not at all. Several processes may add parts at
once: an item is looked up by its id and the digest of its content, so two parts
that hold it are no contradiction.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from crossan.cache_schema.canonical import canonical_bytes, digest_of, pretty_bytes, sha256_hex
from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError
from crossan.cache_schema.folder_names import folder_name
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.files import create_exclusively, fsync_folder, write_durably
from crossan.common.foreign import json_value, read_bounded, read_json, require_shape
from crossan.common.refusals import blaming, make_folder
from crossan.common.stores.checksums import crc32c

__all__ = ["InputRecord", "InputRow", "InputStore", "inputs_folder"]

_IDENTITY = "inputs.json"
_FOLDER = "inputs"
_LARGEST_RECORD = 2**28
"""Bytes of a part's record, which is far less than the arrays that it is about."""
_DTYPES = ("uint8", "int32", "int64", "float32")
_MOST_AXES = 5
_MOST_OPEN = 64
"""Files at a time; a process may have few."""

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class InputRow:
    """One item to be kept."""

    item_id: str
    digest: str | None
    """Of its content; None where it has none."""
    arrays: Arrays | None
    """What its backbone takes, by name; None where the status is not ok."""
    status: ItemStatus = ItemStatus.OK
    reason: str | None = None
    """Why the status is not ok."""


class _Array(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    dtype: Literal["uint8", "int32", "int64", "float32"]
    shape: Annotated[
        tuple[Annotated[int, Field(ge=1, lt=2**31)], ...], Field(max_length=_MOST_AXES)
    ]


class InputRecord(BaseModel):
    """Where the arrays of an item are, and what they were made from."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    item_id: str
    digest: str | None
    status: ItemStatus
    reason: str | None
    offset: Annotated[int, Field(ge=0)]
    arrays: tuple[_Array, ...]
    crc32c: int

    @property
    def byte_count(self) -> int:
        """Bytes of all arrays."""
        return sum(_byte_count(array) for array in self.arrays)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    stamp: int
    """Nanoseconds since 1970, when it was written."""
    byte_count: Annotated[int, Field(ge=0)]
    items: tuple[InputRecord, ...]


def inputs_folder(
    cache: Path | str, dataset: str, modality: Modality, identity: Mapping[str, Any]
) -> Path:
    """Return ``cache/<dataset>/inputs/<modality>-<first 12 of the identity's digest>``."""
    name = f"{modality.value}-{digest_of(identity)[:12]}"
    return Path(cache) / folder_name(dataset) / _FOLDER / name


class InputStore:
    """The model inputs of one modality.

    Parameters
    ----------
    folder
        Where they lie; it is made where there is none.
    identity
        What fixes the inputs beside the items' contents, as JSON.

    Raises
    ------
    IncompatibleError
        The folder holds inputs of another identity.
    StoreIntegrityError
        A record is damaged.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder, self.identity = folder, dict(identity)
        self._files: dict[Path, int] = {}
        self._parts: set[str] = set()
        self._items: dict[str, list[tuple[int, Path, InputRecord]]] = {}
        # A cache that cannot be written serves whoever finds everything in it.
        if not (folder / _IDENTITY).exists():
            make_folder(folder)
            create_exclusively(folder / _IDENTITY, pretty_bytes(self.identity))
        recorded = read_json(folder / _IDENTITY, StoreIntegrityError)
        if canonical_bytes(recorded) != canonical_bytes(self.identity):
            raise IncompatibleError(
                f"{folder}: expected model inputs of the identity {digest_of(self.identity)[:12]},"
                f" found those of {digest_of(recorded)[:12]}",
                remedy="Name another cache: --cache FOLDER",
            )
        self.refresh()

    def __enter__(self) -> InputStore:
        """Return the store, whose files are closed with the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files."""
        self.close()

    def refresh(self) -> None:
        """Read the records that other processes have added since."""
        for path in sorted(self.folder.glob("*.json")):
            if path.name != _IDENTITY and path.name not in self._parts:
                self._take(path)

    def record_of(self, item_id: str, digest: str | None) -> InputRecord | None:
        """Return the record of an item with this content, None where there is none."""
        return next(
            (record for _, _, record in self._items.get(item_id, ()) if record.digest == digest),
            None,
        )

    def newest(self, item_id: str) -> InputRecord | None:
        """Return the record of an item that was written last, None where there is none."""
        return self._items[item_id][0][2] if item_id in self._items else None

    def read(self, record: InputRecord) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of an item, by name.

        Raises
        ------
        StoreIntegrityError
            Their bytes are not those that were recorded, or no more.
        """
        path = next(path for _, path, known in self._items[record.item_id] if known is record)
        if path not in self._files:
            if len(self._files) == _MOST_OPEN:
                self.close()
            with blaming(path):
                self._files[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with blaming(path):
            # A record may say anything: no memory is taken for bytes that are not there.
            held = max(0, os.fstat(self._files[path]).st_size - record.offset)
            data = os.pread(self._files[path], min(record.byte_count, held), record.offset)
        if len(data) != record.byte_count or crc32c(data) != record.crc32c:
            raise StoreIntegrityError(
                f"{path}: expected the model inputs of {record.item_id} as they were written,"
                " found other bytes",
                remedy=f"Move {path} and {path.with_suffix('.json')} aside, then run the same"
                " command, which decodes these items again",
            )
        arrays, start = {}, 0
        for array in record.arrays:
            end = start + _byte_count(array)
            flat = np.frombuffer(
                data, array.dtype, offset=start, count=(end - start) // _size(array)
            )
            arrays[array.name] = flat.reshape(array.shape)
            start = end
        return arrays

    def append(self, rows: Sequence[InputRow]) -> None:
        """Add items as one part, which is on the disk when this returns.

        Raises
        ------
        ResourceError
            The disk is full, or the folder cannot be written.
        """
        if not rows:
            return
        items, parts, offset = [], [], 0
        for row in rows:
            arrays = {} if row.arrays is None else row.arrays
            kept = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
            data = [array.reshape(-1).view(np.uint8).data for array in kept.values()]
            items.append(_record(row, kept, offset, data))
            parts += data
            offset += sum(map(len, data))
        part = {"stamp": time.time_ns(), "byte_count": offset, "items": items}
        record = canonical_bytes(part)
        path = self.folder / f"{sha256_hex(record)}.bin"
        write_durably(path, *parts)
        # The record last: with it the arrays are whole. Its own folder entry makes both last.
        create_exclusively(path.with_suffix(".json"), record)
        fsync_folder(self.folder)
        self._take(path.with_suffix(".json"))

    def close(self) -> None:
        """Close the files that were read."""
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()

    def _take(self, path: Path) -> None:
        """Read the record of a part."""
        data = read_bounded(path, StoreIntegrityError, _LARGEST_RECORD)
        if sha256_hex(data) != path.stem:
            raise StoreIntegrityError(
                f"{path}: expected bytes with the digest that is the file's name, found"
                f" {sha256_hex(data)[:12]}",
                remedy=f"Move {path} aside, then run the same command, which decodes its items"
                " again",
            )
        value = json_value(data, str(path), StoreIntegrityError)
        part = require_shape(value, _Part, str(path), StoreIntegrityError)
        arrays = path.with_suffix(".bin")
        for record in part.items:
            if record.offset + record.byte_count > part.byte_count:
                raise StoreIntegrityError(
                    f"{path}: expected arrays within {part.byte_count:,} bytes, found"
                    f" {record.item_id} beyond them"
                )
            known = self._items.setdefault(record.item_id, [])
            known.append((part.stamp, arrays, record))
            known.sort(key=lambda entry: -entry[0])
        self._parts.add(path.name)


def _record(
    row: InputRow, arrays: Arrays, offset: int, data: Sequence[memoryview]
) -> dict[str, Any]:
    checksum = 0
    for part in data:
        checksum = crc32c(part, checksum)
    odd = [name for name, array in arrays.items() if array.dtype.name not in _DTYPES]
    if odd:
        raise ValueError(f"expected arrays of {', '.join(_DTYPES)}, got {arrays[odd[0]].dtype}")
    return {
        "item_id": row.item_id,
        "digest": row.digest,
        "status": row.status.value,
        "reason": row.reason,
        "offset": offset,
        "arrays": [
            {"name": name, "dtype": array.dtype.name, "shape": list(array.shape)}
            for name, array in arrays.items()
        ],
        "crc32c": checksum,
    }


def _size(array: _Array) -> int:
    return np.dtype(array.dtype).itemsize


def _byte_count(array: _Array) -> int:
    return int(np.prod(array.shape, dtype=np.int64)) * _size(array)
