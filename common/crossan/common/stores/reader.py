"""A pinned version of one store, read by item row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.canonical import sha256_hex
from crossan.cache_schema.errors import StoreIntegrityError, UsageError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.manifest import Manifest
from crossan.cache_schema.modality import ItemStatus
from crossan.common.stores.chunks import read_chunk
from crossan.common.stores.files import read_regular
from crossan.common.stores.folders import read_identity
from crossan.common.stores.segments import Segment, read_segment
from crossan.common.stores.values import bits_dtype, decode_rows, fill_rows, read_dtype
from crossan.common.stores.versions import read_version

__all__ = ["FeatureStore", "open_store"]

_NOWHERE = -1
_SHOWN_ITEMS = 3


def open_store(path: Path | str, version: int | None = None) -> FeatureStore:
    """Open one version of a store and check everything about it but the chunks.

    Parameters
    ----------
    path
        Folder of the store.
    version
        None for the newest.

    Raises
    ------
    StoreNotFoundError
        No store lies there, or it has no such version, or none yet.
    StoreIntegrityError
        A file but a chunk is not what the manifest records. Names the file.
    IncompatibleError
        A newer crossan wrote it.
    """
    path = Path(path)
    identity = read_identity(path)
    manifest = read_version(path, version)
    found = sha256_hex(read_regular(path, "store.json"))
    if found != manifest.store_sha256:
        raise StoreIntegrityError(
            f"{path / 'store.json'}: expected SHA-256 {manifest.store_sha256}, found {found}",
            remedy=f"Run: crossan cache verify {path}",
        )
    return FeatureStore(path, identity, manifest, [read_segment(path, entry, identity) for entry in manifest.segments])


class FeatureStore:
    """One version of a store; get one from `open_store`. Rows follow `item_ids`.

    Attributes
    ----------
    path, version, identity, fingerprint
        Which store this is, and which version of it.
    item_ids
        Every item the version knows, deleted ones left out, sorted by code point; ``(item,)`` of str.
    status
        `ItemStatus` values, ``(item,)`` of str.
    reasons, content_digests
        One per item, None where there is none.
    presence
        Whether the item has hidden states, ``(item,)`` of bool.
    layers, dim
        Kept layer numbers, lowest first, and the width of a state.
    dtype
        Of what `read` gives: the stored dtype, float32 for bfloat16.
    """

    def __init__(self, path: Path, identity: StoreIdentity, manifest: Manifest, segments: Sequence[Segment]) -> None:
        self.path, self.version = path, manifest.version
        self.identity, self.fingerprint = identity, identity.fingerprint
        self.layers, self.dim, self.dtype = identity.layers, identity.dim, read_dtype(identity.stored_dtype)
        self._chunks = [(segment, number) for segment in segments for number in range(segment.layout.chunk_count)]
        self._opened: dict[int, npt.NDArray[Any]] = {}
        kept = _newest_of_each(segments)
        self.item_ids = np.array(list(kept), dtype=np.str_)
        items = [(segments[s].items, place) for s, place in kept.values()]
        self.status = np.array([index.statuses[place].value for index, place in items], dtype=np.str_)
        self.reasons = [index.reasons[place] for index, place in items]
        self.content_digests = [index.content_digests[place] for index, place in items]
        self.presence = self.status == ItemStatus.OK.value
        self._chunk_of, self._place_of = _places(segments, list(kept.values()))

    def read(self, rows: npt.ArrayLike, layers: Sequence[int] | None = None) -> npt.NDArray[Any]:
        """Return the hidden states of some items; NaN where the status is not ok.

        Parameters
        ----------
        rows
            ``(n,)`` positions in `item_ids`; repeats are allowed.
        layers
            Layer numbers to give, in this order; None for all that are kept.

        Returns
        -------
        numpy.ndarray
            ``(n, layer, dim)`` of `dtype`.

        Raises
        ------
        IndexError
            A row below 0 or beyond the last item.
        UsageError
            A layer that is not kept.
        StoreIntegrityError
            The bytes of a chunk, checked when it is first touched, are not those recorded. Names the file and items.
        """
        return decode_rows(self._read_stored(np.asarray(rows), layers, None), self.identity.stored_dtype)

    def load(self, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Return the hidden states of every item, ``(item, layer, dim)``; NaN where the status is not ok.

        Parameters
        ----------
        out
            Array of that shape and of `dtype` to write into and return, for example pinned memory.

        Raises
        ------
        ValueError
            ``out`` has another shape or dtype.
        StoreIntegrityError
            As `read`.
        """
        shape = (len(self.item_ids), len(self.layers), self.dim)
        if out is not None and (out.shape != shape or out.dtype != self.dtype):
            raise ValueError(f"expected out {shape} of {self.dtype}, found {out.shape} of {out.dtype}")
        everything = np.arange(shape[0])
        if self.identity.stored_dtype == "bfloat16":
            decoded = self.read(everything)
            return decoded if out is None else _copied(decoded, out)
        return self._read_stored(everything, None, out)

    def iter_stored(self, item_count: int = 1_024) -> Iterator[npt.NDArray[Any]]:
        """Yield the stored bits of all items in order, ``(<= item_count, layer, dim)``; uint16 for bfloat16."""
        for start in range(0, len(self.item_ids), item_count):
            yield self._read_stored(np.arange(start, min(start + item_count, len(self.item_ids))), None, None)

    def _read_stored(
        self, rows: npt.NDArray[Any], layers: Sequence[int] | None, out: npt.NDArray[Any] | None
    ) -> npt.NDArray[Any]:
        rows = self._checked_rows(rows)
        columns = slice(None) if layers is None else self._layer_columns(layers)
        layer_count = len(self.layers if layers is None else layers)
        stored_dtype = self.identity.stored_dtype
        if out is None:
            out = np.empty((len(rows), layer_count, self.dim), dtype=bits_dtype(stored_dtype))
        chunk_of = self._chunk_of[rows]
        order = np.argsort(chunk_of, kind="stable")
        numbers, starts = np.unique(chunk_of[order], return_index=True)
        for number, start, stop in zip(numbers, starts, [*starts[1:], len(order)], strict=False):
            places = order[start:stop]
            if number == _NOWHERE:
                out[places] = fill_rows((1, 1, 1), stored_dtype)
            else:
                out[places] = self._chunk(int(number))[self._place_of[rows[places]]][:, columns]
        return out

    def _checked_rows(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise IndexError(f"expected one dimension of whole numbers, found {rows.ndim} of {rows.dtype}")
        if rows.size and not 0 <= rows.min() <= rows.max() < len(self.item_ids):
            raise IndexError(f"expected rows from 0 to {len(self.item_ids) - 1}, found {rows.min()} to {rows.max()}")
        return rows.astype(np.int64, copy=False)

    def _layer_columns(self, layers: Sequence[int]) -> list[int]:
        unknown = [layer for layer in layers if layer not in self.layers]
        if unknown:
            raise UsageError(f"{self.path}: expected layers among {list(self.layers)}, found {unknown}")
        return [self.layers.index(layer) for layer in layers]

    def _chunk(self, number: int) -> npt.NDArray[Any]:
        if number not in self._opened:
            segment, inner = self._chunks[number]
            try:
                self._opened[number] = read_chunk(segment.path, segment.record.chunks[inner], segment.layout)
            except StoreIntegrityError as error:
                raise StoreIntegrityError(
                    f"{error.message}\n  {self._affected(number)}", remedy=f"Run: crossan cache fsck {self.path}"
                ) from error
        return self._opened[number]

    def _affected(self, number: int) -> str:
        items = self.item_ids[self._chunk_of == number]
        return f"{len(items):,} items lie in it, first: {', '.join(items[:_SHOWN_ITEMS])}"


def _newest_of_each(segments: Sequence[Segment]) -> dict[str, tuple[int, int]]:
    """Return (segment, place in its index) of each item, the newest segment winning, sorted by item id."""
    places: dict[str, tuple[int, int]] = {}
    for number, segment in enumerate(segments):
        places.update({item_id: (number, place) for place, item_id in enumerate(segment.items.item_ids)})
    return {
        item_id: (number, place)
        for item_id, (number, place) in sorted(places.items())
        if segments[number].items.statuses[place] is not ItemStatus.DELETED
    }


def _places(
    segments: Sequence[Segment], kept: Sequence[tuple[int, int]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return for each item the number of its chunk, counted over all segments, and its row there; -1 for none."""
    first = np.cumsum([0, *(segment.layout.chunk_count for segment in segments)])
    sizes = np.array([segment.layout.chunk_items for segment in segments], dtype=np.int64)
    numbers = np.array([number for number, _ in kept], dtype=np.int64)
    rows = np.array([segments[number].items.rows[place] for number, place in kept], dtype=np.int64)
    chunk_items = sizes[numbers] if len(kept) else sizes[:0]
    chunk_of = np.where(rows < 0, _NOWHERE, first[numbers] + rows // np.maximum(chunk_items, 1))
    return chunk_of, np.where(rows < 0, _NOWHERE, rows % np.maximum(chunk_items, 1))


def _copied(source: npt.NDArray[Any], out: npt.NDArray[Any]) -> npt.NDArray[Any]:
    out[...] = source
    return out
