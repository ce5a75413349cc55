"""Opening parquet files that may be damaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from crossan.cache_schema.errors import DataError, ResourceError

__all__ = ["opened_parquet", "read_columns"]


@contextmanager
def opened_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a parquet file, for what the block reads of it too.

    Raises
    ------
    FileNotFoundError
        There is no file at ``path``.
    DataError
        It is no parquet file, or damaged.
    ResourceError
        It may not be read.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except PermissionError as error:
        raise ResourceError(f"{path}: cannot be read: {error.strerror}") from None
    # UnicodeDecodeError: Arrow takes the names of columns as they come. OSError: it raises that
    # for most of what it cannot parse.
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected a parquet table: {error}") from None


def read_columns(file: pq.ParquetFile, names: Sequence[str]) -> pa.Table:
    """Return columns of an open file, of as many rows as it says that it has.

    Raises
    ------
    pa.ArrowInvalid
        Damaged pages that hold other rows.
    """
    # Not read_table: one of its threads may still run when the interpreter ends, and abort it.
    table = file.read(columns=list(names), use_threads=False)
    if names and table.num_rows != file.metadata.num_rows:
        raise pa.ArrowInvalid(
            f"{file.metadata.num_rows:,} rows were announced, found {table.num_rows:,}"
        )
    table.validate()
    return table
