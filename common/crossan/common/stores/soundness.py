"""Whether chunk files hold the bytes that their segment records, and numbers in them."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.layout import CRC_BYTES, MAX_DECODED_CHUNK_BYTES, ArrayLayout
from crossan.cache_schema.segment import FileEntry, SegmentRecord
from crossan.common.files import require_plain
from crossan.common.kinds_of_files import what_lies_at
from crossan.common.stores.checksums import crc32c
from crossan.common.stores.chunks import decode_chunk
from crossan.common.stores.gather import on_all_cores
from crossan.common.stores.values import bits_dtype

__all__ = ["Flaw", "find_flaws", "require_finite", "rows_not_finite"]

_BLOCK_BYTES = 2 * 2**20
"""Read, summed and hashed in one go, while it is in the processor's cache."""
_LARGEST_CHUNK_FILE = MAX_DECODED_CHUNK_BYTES + 2**20
"""Bytes of a chunk file at most: packing may add a little to what does not pack."""
_EXPONENTS = {"float16": 0x7C00, "float32": 0x7F800000, "bfloat16": 0x7F80}
"""Exponent bits of each stored dtype. All of them are set in NaN and infinities alone."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with one chunk file, with a code for machines."""

    code: str
    what: str
    rows: tuple[int, ...] = ()
    """Rows of the segment that hold NaN or infinity, where that is what is wrong."""


def find_flaws(segment: Path, record: SegmentRecord, layout: ArrayLayout | None) -> dict[int, Flaw]:
    """Return what is wrong with the chunks of a segment, by their numbers.

    Every byte is read once, on all cores. A chunk's SHA-256 and the CRC32C of its
    payload must be those of the record, so that a change which keeps the CRC32C is
    found too. The rows of items must be finite.

    Parameters
    ----------
    segment
        Folder of the segment.
    record
        The content of its ``segment.json``.
    layout
        Of its array. None where it is not known: then nobody can tell rows from padding,
        and values are not looked at.
    """
    flaws: dict[int, Flaw] = {}

    def look(number: int) -> None:
        first = number * layout.chunk_items if layout else 0
        row_count = min(layout.chunk_items, record.row_count - first) if layout else 0
        chunk = _Chunk(segment / record.chunks[number].path, record.chunks[number], layout)
        flaw = _open_and_look(segment, chunk, row_count)
        if flaw is not None:
            flaws[number] = Flaw(flaw.code, flaw.what, tuple(first + row for row in flaw.rows))

    on_all_cores(look, range(len(record.chunks)))
    return dict(sorted(flaws.items()))


def require_finite(stored: npt.NDArray[Any], stored_dtype: str, where: str) -> None:
    """Refuse NaN and infinities in rows that are about to be written.

    Parameters
    ----------
    stored
        ``(row, layer, dim)`` in the stored dtype.
    stored_dtype
        Its name.
    where
        The array's folder, for the message.

    Raises
    ------
    StoreIntegrityError
        A row holds one.
    """
    check = _FiniteCheck(stored_dtype, stored.nbytes)
    flat = np.ascontiguousarray(stored).reshape(-1).view(np.uint8)
    for start in range(0, len(flat), _BLOCK_BYTES):
        check.add(flat[start : start + _BLOCK_BYTES], start)
    if check.is_suspicious:
        raise StoreIntegrityError(
            f"{where}: expected finite hidden states for each item that is ok, "
            f"found NaN or infinity in {len(rows_not_finite(stored, stored_dtype)):,} rows"
        )


def rows_not_finite(stored: npt.NDArray[Any], stored_dtype: str) -> list[int]:
    """Return which rows of ``(row, layer, dim)`` hold NaN or infinity, as stored."""
    exponent = _EXPONENTS[stored_dtype]
    bits = stored.view(_unsigned(stored_dtype)).reshape(len(stored), -1)
    numbers: list[int] = np.flatnonzero(((bits & exponent) == exponent).any(axis=1)).tolist()
    return numbers


@dataclass(frozen=True, slots=True)
class _Chunk:
    path: Path
    entry: FileEntry
    layout: ArrayLayout | None


def _open_and_look(segment: Path, chunk: _Chunk, row_count: int) -> Flaw | None:
    try:
        require_plain(segment, chunk.entry.path)
        # A pipe in the place of the file would block the open for ever, but for O_NONBLOCK.
        descriptor = os.open(chunk.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except StoreIntegrityError as error:
        return Flaw("link", error.message.removeprefix(f"{chunk.path}: "))
    except (FileNotFoundError, NotADirectoryError):
        return Flaw("missing-file", "expected a file, found nothing")
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return Flaw("missing-file", f"expected a file, found {what_lies_at(chunk.path)}")
        if status.st_size != chunk.entry.size:
            return Flaw(
                "wrong-size", f"expected {chunk.entry.size:,} bytes, found {status.st_size:,}"
            )
        return _look(descriptor, chunk, row_count)
    finally:
        os.close(descriptor)


def _look(descriptor: int, chunk: _Chunk, row_count: int) -> Flaw | None:
    size, layout = chunk.entry.size, chunk.layout
    if not CRC_BYTES < size <= _LARGEST_CHUNK_FILE:
        what = f"expected a chunk of up to {_LARGEST_CHUNK_FILE:,} bytes, found {size:,}"
        return Flaw("wrong-size", what)
    is_raw = layout is not None and layout.codec == "raw"
    check = _FiniteCheck(
        layout.stored_dtype if layout else "float16",
        row_count * layout.row_bytes if layout and is_raw else 0,
    )
    digest, crc, offset = hashlib.sha256(), 0, 0
    scratch = np.empty(min(_BLOCK_BYTES, size), np.uint8)
    while offset < size - CRC_BYTES:
        block = scratch[: size - CRC_BYTES - offset]
        count = os.preadv(descriptor, [block.data], offset)
        if count == 0:  # cut short while it is read, which the digests show
            break
        block = block[:count]
        digest.update(block.data)
        crc = crc32c(block.data, crc)
        check.add(block, offset)
        offset += count
    tail = os.pread(descriptor, CRC_BYTES, size - CRC_BYTES)
    digest.update(tail)
    flaw = _digest_flaw(chunk.entry, crc, tail, digest.hexdigest())
    if flaw is not None or layout is None or (is_raw and not check.is_suspicious):
        return flaw
    return _row_flaw(os.pread(descriptor, size, 0), layout, chunk.path, row_count)


def _digest_flaw(entry: FileEntry, crc: int, tail: bytes, sha256: str) -> Flaw | None:
    tail_crc = int.from_bytes(tail, "little")
    # The recorded one too: a chunk that was exchanged for another sound one has a fitting tail.
    if not crc == tail_crc == entry.crc32c:
        recorded = f"{entry.crc32c or 0:08x}"
        what = f"expected CRC32C {recorded}, found {crc:08x} and {tail_crc:08x} in its tail"
        return Flaw("wrong-crc", what)
    if sha256 != entry.sha256:
        return Flaw("wrong-digest", f"expected SHA-256 {entry.sha256}, found {sha256}")
    return None


def _row_flaw(data: bytes, layout: ArrayLayout, path: Path, row_count: int) -> Flaw | None:
    try:
        rows = decode_chunk(data, layout, path)[:row_count]
    except StoreIntegrityError as error:
        return Flaw("malformed", error.message.removeprefix(f"{path}: "))
    numbers = rows_not_finite(rows, layout.stored_dtype)
    if not numbers:
        return None
    what = "expected finite hidden states for each item that is ok, found NaN or infinity in "
    return Flaw("not-finite", f"{what}{len(numbers):,} rows", tuple(numbers))


class _FiniteCheck:
    """Whether a value in the first bytes of a run of blocks may be NaN or infinite."""

    def __init__(self, stored_dtype: str, byte_count: int) -> None:
        self._unsigned, self._exponent = _unsigned(stored_dtype), _EXPONENTS[stored_dtype]
        self._byte_count = byte_count
        self._scratch = np.empty(0, self._unsigned)
        self.is_suspicious = False

    def add(self, block: npt.NDArray[np.uint8], offset: int) -> None:
        """Look at the block that begins at a byte."""
        block = block[: max(0, self._byte_count - offset)]
        width = self._unsigned.itemsize
        # A read that was short may end inside a value: the rows are looked at once more then.
        if offset % width or len(block) % width:
            self.is_suspicious = True
        if self.is_suspicious or not len(block):
            return
        bits = block.view(self._unsigned)
        if len(self._scratch) < len(bits):
            self._scratch = np.empty(len(bits), self._unsigned)
        # The largest of the masked exponents is the mask itself where one value has all its bits
        # set. That is ten times as fast as np.isfinite, which works on float16 one by one.
        masked = np.bitwise_and(bits, self._exponent, out=self._scratch[: len(bits)])
        self.is_suspicious = bool(masked.max() == self._exponent)


def _unsigned(stored_dtype: str) -> np.dtype[Any]:
    return np.dtype(f"<u{bits_dtype(stored_dtype).itemsize}")
