"""How one segment's hidden states lie in files.

They are a Zarr v3 array whose chunks can be mapped side by side.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from crossan.cache_schema.canonical import field_of
from crossan.cache_schema.errors import StoreIntegrityError

__all__ = [
    "ARRAY_NAME",
    "CODECS",
    "CRC_BYTES",
    "MAX_DECODED_CHUNK_BYTES",
    "STORED_DTYPES",
    "ArrayLayout",
    "chunk_item_count",
    "chunk_path",
    "group_metadata",
]

ARRAY_NAME = "hidden_states"
CRC_BYTES = 4
"""Bytes of the CRC32C that ends every chunk file."""
PAGE_BYTES = 65_536
"""The largest page size in use; chunk bytes are a multiple where the limits below leave one."""
LARGEST_COUNT = 2**48
"""The most items, layers, values or bytes that metadata may claim."""
MAX_CHUNK_ITEMS = 1_024
MAX_CHUNK_BYTES = 16 * 2**20
MAX_DECODED_CHUNK_BYTES = 64 * 2**20
"""A reader refuses a chunk that claims to decode to more."""


class StoredDtype(NamedTuple):
    """One way a value is stored, by Zarr's name and NumPy's.

    ``fill_value`` is that of ``zarr.json``.
    """

    zarr: str
    numpy: str
    byte_count: int
    fill_value: str | int


STORED_DTYPES = {
    "float16": StoredDtype("float16", "<f2", 2, "NaN"),
    "float32": StoredDtype("float32", "<f4", 4, "NaN"),
    # Zarr-python 3.1.6 neither creates nor opens bfloat16: stored as uint16, 0x7FC0 is NaN.
    "bfloat16": StoredDtype("uint16", "<u2", 2, 0x7FC0),
}
_BYTES_CODEC = {"name": "bytes", "configuration": {"endian": "little"}}
_CRC_CODEC = {"name": "crc32c"}
CODECS = ("raw", "zstd", "blosc")
_ARRAY_KEYS = {
    "attributes",
    "chunk_grid",
    "chunk_key_encoding",
    "codecs",
    "data_type",
    "dimension_names",
    "fill_value",
    "node_type",
    "shape",
    "zarr_format",
}
_CHUNK_PATH = re.compile(rf"{ARRAY_NAME}/c/(0|[1-9][0-9]{{0,8}})/0/0")


def chunk_item_count(row_bytes: int, item_count: int) -> int:
    """Return how many items one chunk holds.

    The largest count up to 1,024 that keeps a chunk within 16 MiB, makes its
    bytes a multiple of 65,536 where any count does, and pads the last chunk by
    no more than 1/32 of the items; where none does, the largest of those that
    pad least.

    Parameters
    ----------
    row_bytes
        Bytes of one item's hidden states.
    item_count
        Items with a row in the segment.
    """
    most = max(1, min(MAX_CHUNK_ITEMS, MAX_CHUNK_BYTES // row_bytes))
    step = PAGE_BYTES // math.gcd(PAGE_BYTES, row_bytes)
    if step > most:
        step = 1
    # Largest counts first: the first that pads little is the answer.
    padding = {count: -max(item_count, 1) % count for count in range(most - most % step, 0, -step)}
    return next(
        (n for n, rows in padding.items() if rows * 32 <= item_count),
        min(padding, key=padding.__getitem__),
    )


def chunk_path(number: int) -> str:
    """Return the path of a chunk file inside its segment, ``hidden_states/c/3/0/0``."""
    return f"{ARRAY_NAME}/c/{number}/0/0"


def chunk_number(path: str) -> int | None:
    """Return the number of the chunk at a path inside a segment, None for another path."""
    match = _CHUNK_PATH.fullmatch(path)
    return int(match[1]) if match else None


def group_metadata() -> dict[str, Any]:
    """Return the content of a segment's own ``zarr.json``."""
    return {"zarr_format": 3, "node_type": "group", "attributes": {}}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayLayout:
    """Shape, chunk and codec of one segment's array ``hidden_states``, (item, layer, dim)."""

    item_count: int
    """Items with a row."""

    chunk_items: int
    layer_count: int
    dim: int
    stored_dtype: str
    codec: str

    @property
    def row_bytes(self) -> int:
        """Bytes of one item's hidden states."""
        return self.layer_count * self.dim * STORED_DTYPES[self.stored_dtype].byte_count

    @property
    def chunk_bytes(self) -> int:
        """Bytes of one decoded chunk, the last one padded with the fill value."""
        return self.chunk_items * self.row_bytes

    @property
    def chunk_count(self) -> int:
        """Number of chunk files, 0 where no item has a row."""
        return math.ceil(self.item_count / self.chunk_items)

    def to_zarr(self) -> dict[str, Any]:
        """Return the content of the array's ``zarr.json``."""
        dtype = STORED_DTYPES[self.stored_dtype]
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [self.item_count, self.layer_count, self.dim],
            "data_type": dtype.zarr,
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [self.chunk_items, self.layer_count, self.dim]},
            },
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": dtype.fill_value,
            "codecs": _codecs(self.codec, dtype.byte_count),
            "dimension_names": ["item", "layer", "dim"],
            "attributes": {"crossan_stored_dtype": self.stored_dtype},
        }

    @classmethod
    def from_zarr(cls, value: dict[str, Any], where: str) -> ArrayLayout:
        """Read an array's ``zarr.json`` against the allow-list, before anything else sees it.

        Raises
        ------
        StoreIntegrityError
            It is not exactly what `to_zarr` writes for some layout of at most
            64 MiB a chunk. Names the first key that differs.
        """
        layout = cls._claimed(value, where)
        if layout.chunk_items < 1 or not 0 < layout.chunk_bytes <= MAX_DECODED_CHUNK_BYTES:
            raise StoreIntegrityError(
                f"{where}: expected chunks of 1 to {MAX_DECODED_CHUNK_BYTES:,} bytes, "
                f"found {layout.chunk_bytes:,}"
            )
        # Comparing with what we would write refuses unknown keys and codecs without a list of them.
        expected = layout.to_zarr()
        for key in sorted(_ARRAY_KEYS | set(value)):
            if key not in value or key not in expected or value[key] != expected[key]:
                shown = f"{value[key]!r:.120}" if key in value else "no such key"
                raise StoreIntegrityError(
                    f"{where}: expected {key} to be {expected.get(key, 'left out')!r}, "
                    f"found {shown}"
                )
        return layout

    @classmethod
    def _claimed(cls, value: dict[str, Any], where: str) -> ArrayLayout:
        shape = _counts(value.get("shape"), "shape", where)
        grid = field_of(value, "chunk_grid", dict, where)
        chunk = _counts(
            field_of(grid, "configuration", dict, where).get("chunk_shape"), "chunk_shape", where
        )
        stored_dtype = field_of(
            field_of(value, "attributes", dict, where), "crossan_stored_dtype", str, where
        )
        if stored_dtype not in STORED_DTYPES:
            raise StoreIntegrityError(
                f"{where}: expected a stored dtype among {', '.join(STORED_DTYPES)}, "
                f"found {stored_dtype!r}"
            )
        byte_count = STORED_DTYPES[stored_dtype].byte_count
        codec = next(
            (name for name in CODECS if value.get("codecs") == _codecs(name, byte_count)), None
        )
        if codec is None:
            raise StoreIntegrityError(
                f"{where}: expected the codecs of one of {', '.join(CODECS)}, "
                f"found {value.get('codecs')!r:.200}"
            )
        return cls(
            item_count=shape[0],
            chunk_items=chunk[0],
            layer_count=shape[1],
            dim=shape[2],
            stored_dtype=stored_dtype,
            codec=codec,
        )


def _codecs(codec: str, byte_count: int) -> list[dict[str, Any]]:
    packed: dict[str, list[dict[str, Any]]] = {
        "raw": [],
        "zstd": [{"name": "zstd", "configuration": {"level": 5, "checksum": False}}],
        "blosc": [
            {
                "name": "blosc",
                "configuration": {
                    "cname": "zstd",
                    "clevel": 5,
                    "shuffle": "shuffle",
                    "typesize": byte_count,
                    "blocksize": 0,
                },
            }
        ],
    }
    return [_BYTES_CODEC, *packed[codec], _CRC_CODEC]


def _counts(value: object, key: str, where: str) -> tuple[int, int, int]:
    if (
        isinstance(value, list)
        and len(value) == 3
        and all(type(count) is int and 0 <= count <= LARGEST_COUNT for count in value)
    ):
        return value[0], value[1], value[2]
    raise StoreIntegrityError(f"{where}: expected {key} to be three counts, found {value!r:.80}")
