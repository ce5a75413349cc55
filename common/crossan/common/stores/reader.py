"""A pinned version of one store, read by item row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.canonical import sha256_hex
from crossan.cache_schema.errors import StoreIntegrityError, StoreNotFoundError, UsageError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.manifest import Manifest
from crossan.cache_schema.modality import ItemStatus
from crossan.common.files import read_regular
from crossan.common.stores.folders import read_identity
from crossan.common.stores.index import StoreIndex
from crossan.common.stores.item_index import STATUSES
from crossan.common.stores.row_arguments import check_out, checked_rows
from crossan.common.stores.segments import Segment, read_segment
from crossan.common.stores.stored_rows import StoredRows
from crossan.common.stores.values import bits_dtype, decode_rows, read_dtype
from crossan.common.stores.versions import read_version

if TYPE_CHECKING:
    import zarr

__all__ = ["FeatureStore", "open_store"]

_OK = STATUSES.index(ItemStatus.OK)


def open_store(path: Path | str, version: int | None = None) -> FeatureStore:
    """Open one version of a store.

    Everything about it is checked but the bytes of the chunks: they are checked when they are read,
    and their sizes here. The chunks are mapped here, so that the version stays readable whatever a
    garbage collection does afterwards.

    Parameters
    ----------
    path
        Folder of the store.
    version
        None for the newest.

    Raises
    ------
    StoreNotFoundError
        There is no store, or it does not have this version.
    StoreIntegrityError
        A file is not what the manifest records. Names the file.
    IncompatibleError
        A newer crossan wrote it.

    Examples
    --------
    >>> store = open_store("features/demo/text/bert-0123456789ab")  # doctest: +SKIP
    >>> store.read([0, 1]).shape  # (item, layer, dim)  # doctest: +SKIP
    (2, 7, 768)
    """
    path = Path(path)
    # Again where another process collects what this version lists before it is mapped.
    while True:
        identity = read_identity(path)
        manifest = read_version(path, version)
        try:
            return _open_version(path, identity, manifest)
        except StoreIntegrityError as error:
            newest = read_version(path)
            gone = {entry.segment_id for entry in manifest.segments} & set(newest.dropped)
            if gone and version is not None:
                raise StoreNotFoundError(
                    f"{path}: expected version {version}, found that a garbage collection has "
                    f"removed {len(gone)} of its {len(manifest.segments)} segments",
                    remedy=f"Run: crossan cache info {path}",
                ) from error
            if newest.version == manifest.version or version is not None:
                raise
            # Another process committed and collected while we looked: take the new version, whole.


def _open_version(path: Path, identity: StoreIdentity, manifest: Manifest) -> FeatureStore:
    digest = sha256_hex(read_regular(path, "store.json"))
    if digest != manifest.store_sha256:
        raise StoreIntegrityError(
            f"{path / 'store.json'}: expected SHA-256 {manifest.store_sha256}, found {digest}",
            remedy=f"Run: crossan cache verify {path}",
        )
    segments = [read_segment(path, entry, identity) for entry in manifest.segments]
    return FeatureStore(path, identity, manifest, segments)


class FeatureStore:
    """One version of a store, as `open_store` gives it.

    Rows follow `item_ids`.

    Attributes
    ----------
    path, version, identity, fingerprint
        Which store this is, and which version of it.
    item_ids
        Every item the version knows, deleted ones left out, sorted by code point; ``(item,)`` of
        str.
    deleted_ids
        Items that were in the store once and are no more, sorted; ``(item,)`` of str.
    manifest_digest
        Digest of the version's manifest: tells it from another version of the same number.
    records
        The content of each segment's ``segment.json``, oldest first.
    presence
        Whether the item has hidden states, ``(item,)`` of bool.
    layers, dim
        Kept layer numbers, lowest first, and the width of a state.
    dtype
        Of what `read` gives: the stored dtype, float32 for bfloat16.
    """

    def __init__(
        self, path: Path, identity: StoreIdentity, manifest: Manifest, segments: Sequence[Segment]
    ) -> None:
        self.path, self.version = path, manifest.version
        self.identity, self.fingerprint = identity, identity.fingerprint
        self.layers, self.dim, self.dtype = (
            identity.layers,
            identity.dim,
            read_dtype(identity.stored_dtype),
        )
        self.manifest_digest = manifest.digest
        self.records = tuple(segment.record for segment in segments)
        self._arrays = tuple((segment.path, segment.record, segment.layout) for segment in segments)
        self._index = StoreIndex(segments)
        self.item_ids, self.deleted_ids = self._index.item_ids, self._index.deleted_ids
        self.presence: npt.NDArray[np.bool_] = self._index.statuses == _OK
        self._rows = StoredRows(path, segments, self._index, self.presence)

    @property
    def index_bytes(self) -> int:
        """Memory that ids, statuses and row numbers of an open version take, in bytes."""
        return self._index.byte_count + self.presence.nbytes + self._rows.index_bytes

    @cached_property
    def status(self) -> npt.NDArray[np.str_]:
        """`ItemStatus` values, ``(item,)`` of str."""
        return np.array([status.value for status in STATUSES], dtype=np.str_)[self._index.statuses]

    @cached_property
    def reasons(self) -> list[str | None]:
        """Why an item is not ok, None where there is no reason."""
        return self._index.texts("reason")

    @property
    def content_digests(self) -> list[str | None]:
        """SHA-256 of each item's medium, None where there is none, read anew at each use."""
        return self._index.texts("content_digest")

    @cached_property
    def stamps(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Stamps of `item_ids`, and of `deleted_ids`, higher where written later."""
        return self._index.stamps()

    def read(
        self,
        rows: npt.ArrayLike,
        layers: Sequence[int] | None = None,
        out: npt.NDArray[Any] | None = None,
        *,
        is_mapped: bool = True,
    ) -> npt.NDArray[Any]:
        """Return the hidden states of some items, NaN where the status is not ok.

        Parameters
        ----------
        rows
            ``(n,)`` positions in `item_ids`; repeats are allowed.
        layers
            Layer numbers to give, in this order; None for all that are kept.
        out
            C-contiguous array of the result's shape and of `dtype` to write into and return.
        is_mapped
            Whether the rows are copied from the mapped files, if these have not changed. All pages
            of these that are touched count as memory of this process from then on. False reads the
            files, so that nothing but the result is kept, and compares every row with the record.

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
        ValueError
            ``out`` does not fit.
        StoreIntegrityError
            The bytes of a chunk are not those recorded, or no more. Names the file and items.
        """
        chosen = checked_rows(np.asarray(rows), len(self.item_ids))
        layer_count = len(self.layers if layers is None else layers)
        check_out(out, (len(chosen), layer_count, self.dim), self.dtype)
        if self.identity.stored_dtype == "bfloat16":
            stored = self._read_stored(chosen, layers, None, is_mapped=is_mapped)
            decoded = decode_rows(stored, "bfloat16")
            if out is not None:
                out[...] = decoded
            return decoded if out is None else out
        return self._read_stored(chosen, layers, out, is_mapped=is_mapped)

    def load(self, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Return the hidden states of every item, ``(item, layer, dim)``.

        NaN where the status is not ok.

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
        check_out(out, shape, self.dtype)
        if self.identity.stored_dtype == "bfloat16":
            return self.read(np.arange(shape[0]), out=out, is_mapped=False)
        if out is None:
            out = np.empty(shape, dtype=self.dtype)
        self._rows.load(out)
        return out

    def recheck(self, *, is_changed_only: bool = False) -> Iterator[int]:
        """Compare every chunk, or each changed since, with its record and yield its size in bytes."""
        return self._rows.recheck(is_changed_only=is_changed_only)

    def to_zarr(self) -> tuple[zarr.Array[Any], ...]:
        """Return the plain zarr array of each segment, oldest segment first.

        The arrays hold what lies in the files: older rows of an item too, in an order that
        ``items.parquet`` beside them tells, and bfloat16 as uint16. They read the files, each
        checked against its record, for as long as these are there.

        Returns
        -------
        tuple of zarr.Array
            As many as `records`, read-only, ``(row, layer, dim)`` in the stored dtype. Reading
            a damaged chunk raises `StoreIntegrityError`.
        """
        # Training never comes here, and importing zarr would double the time it takes to start.
        from crossan.common.stores.plain_arrays import plain_array

        return tuple(plain_array(*array) for array in self._arrays)

    def iter_stored(self, item_count: int = 1_024) -> Iterator[npt.NDArray[Any]]:
        """Yield the stored bits of all items in order, ``(<= item_count, layer, dim)``.

        As uint16 for bfloat16.
        """
        for start in range(0, len(self.item_ids), item_count):
            yield self.read_stored(np.arange(start, min(start + item_count, len(self.item_ids))))

    def read_stored(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return the stored bits of some items, as `iter_stored` does."""
        return self._read_stored(checked_rows(rows, len(self.item_ids)), None, None)

    def _read_stored(
        self,
        rows: npt.NDArray[np.int64],
        layers: Sequence[int] | None,
        out: npt.NDArray[Any] | None,
        *,
        is_mapped: bool = True,
    ) -> npt.NDArray[Any]:
        columns = None if layers is None else self._layer_columns(layers)
        if out is None:
            layer_count = len(self.layers) if columns is None else len(columns)
            out = np.empty(
                (len(rows), layer_count, self.dim), dtype=bits_dtype(self.identity.stored_dtype)
            )
        (self._rows.gather if is_mapped else self._rows.gather_unmapped)(rows, columns, out)
        return out

    def _layer_columns(self, layers: Sequence[int]) -> list[int]:
        unknown = [layer for layer in layers if layer not in self.layers]
        if unknown:
            raise UsageError(
                f"{self.path}: expected layers among {list(self.layers)}, found {unknown}"
            )
        return [self.layers.index(layer) for layer in layers]
