"""Look at the texts that rows of a Parquet file share, before they are copied to each row.

A file spells a text once however many rows have it, so a small file may ask for any
amount of memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

__all__ = ["shared_texts"]


def shared_texts(
    source: pa.NativeFile | Path, names: Sequence[str]
) -> Iterator[tuple[int, str, pa.Array]]:
    """Yield the texts that each part of a file has a list of.

    What a file holds for each row by itself takes no more memory than the file says.

    Parameters
    ----------
    source
        The Parquet file.
    names
        Columns of texts.

    Yields
    ------
    tuple
        The rows of the part, the column, its texts.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(source, read_dictionary=list(names)) as file:
        for group in range(file.num_row_groups):
            # One row of a column brings the whole list of texts that its rows refer to.
            rows = file.iter_batches(1, row_groups=[group], columns=list(names), use_threads=False)
            first = next(rows, None)
            if first is None:
                continue
            for name in names:
                yield file.metadata.row_group(group).num_rows, name, first.column(name).dictionary
