"""What an item index may claim, compared with the size of its file before a row is read.

Parquet spells a million equal texts in a few bytes, so a small file may ask for any
amount of memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.item_id import LONGEST_ID_BYTES
from crossan.common.shared_texts import shared_texts

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["require_bounded", "require_short_texts"]

_ITEMS_PER_BYTE = 8
"""Of a file's bytes. A million running numbers take 0.7 bytes each under zstd."""
_FREE_BYTES, _BYTES_PER_ITEM = 64 * 2**20, 4 * 2**10
"""Unpacked bytes of a file with no items, and for each item: id, digest, status, reason, row."""
_MOST_ROW_GROUPS = 10_000
_PLURALS = {
    "item_id": "item ids",
    "content_digest": "content digests",
    "status": "statuses",
    "reason": "reasons",
}
_LONGEST_TEXT_BYTES = 64 * 2**10
"""Of a reason, which is for people."""


def require_bounded(metadata: pq.FileMetaData, byte_count: int, where: str) -> None:
    """Refuse a Parquet file that claims more than a file of its size can hold.

    Parameters
    ----------
    metadata
        The file's footer.
    byte_count
        Bytes of the file.
    where
        Its name, for the message.

    Raises
    ------
    StoreIntegrityError
        It claims more items, unpacked bytes or parts.
    """
    most = byte_count * _ITEMS_PER_BYTE
    if metadata.num_rows > most:
        raise StoreIntegrityError(
            f"{where}: expected up to {most:,} items in a file of {byte_count:,} bytes, "
            f"found {metadata.num_rows:,}"
        )
    if metadata.num_row_groups > _MOST_ROW_GROUPS:
        raise StoreIntegrityError(
            f"{where}: expected up to {_MOST_ROW_GROUPS:,} row groups, "
            f"found {metadata.num_row_groups:,}"
        )
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    unpacked = sum(
        group.column(number).total_uncompressed_size
        for group in groups
        for number in range(group.num_columns)
    )
    most = _FREE_BYTES + metadata.num_rows * _BYTES_PER_ITEM
    if unpacked > most:
        raise StoreIntegrityError(
            f"{where}: expected up to {most:,} unpacked bytes for {metadata.num_rows:,} items, "
            f"found {unpacked:,}"
        )


def require_short_texts(data: bytes, names: Sequence[str], where: str) -> None:
    """Refuse columns whose texts are long, before they are spelled out for each item.

    Only the texts that a file shares among its items are looked at: what it holds for
    each item by itself takes no more memory than the file says.

    Parameters
    ----------
    data
        The Parquet file.
    names
        Columns of texts of an item index.
    where
        The file's name, for the message.

    Raises
    ------
    StoreIntegrityError
        A column holds no texts, or one that is too long.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(pa.BufferReader(data)) as file:
        for name in names:
            _require_texts(file.schema_arrow.field(name).type, name, where)
    for _, name, texts in shared_texts(pa.BufferReader(data), names):
        longest = pc.max(pc.binary_length(texts)).as_py() or 0
        most = LONGEST_ID_BYTES if name == "item_id" else _LONGEST_TEXT_BYTES
        if longest > most:
            raise StoreIntegrityError(
                f"{where}: expected {_PLURALS[name]} of at most {most:,} bytes, found {longest:,}"
            )


def _require_texts(kind: pa.DataType, name: str, where: str) -> None:
    import pyarrow as pa

    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(inner) or pa.types.is_large_string(inner)):
        raise StoreIntegrityError(f"{where}: expected texts in {name}, found {kind}")
