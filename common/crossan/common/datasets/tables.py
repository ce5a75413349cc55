"""Reading CSV, TSV and parquet of unknown origin, no row of which may be lost."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from crossan.cache_schema.errors import DataError, ResourceError, UsageError
from crossan.common.datasets.parquet import opened_parquet
from crossan.common.datasets.quoting import Quoting, RowShape, decide_quoting, split_row, text_lines

__all__ = ["column_names", "read_table", "read_text"]

_FORMATS_BY_MAGIC = {
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"\x1f\x8b": "a gzip file",
    b"PK\x03\x04": "a zip file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
}
_PARQUET_MAGIC = b"PAR1"


def column_names(path: Path) -> list[str]:
    """Return the names of a table's columns, of a text those in its first line.

    Raises
    ------
    UsageError, DataError, ResourceError
        As `read_table`.
    """
    if _is_parquet(path):
        with opened_parquet(path) as file:
            return list(file.schema_arrow.names)
    return _Text(path).names


def read_table(path: Path, columns: Collection[str] | None = None) -> pa.Table:
    """Read a parquet, or a CSV or TSV with a header, whose columns are all text.

    A text table may quote fields by RFC 4180 or not at all, see `decide_quoting`.
    Its empty fields are null and its empty lines no rows.

    Parameters
    ----------
    path
        The file. What it is decides what it is read as, not its suffix.
    columns
        The columns to read, all by default.

    Raises
    ------
    UsageError
        There is no file at ``path``.
    DataError
        The file is not such a table. The message names the line.
    ResourceError
        The file cannot be read.
    """
    if _is_parquet(path):
        with opened_parquet(path) as file:
            names = file.schema_arrow.names
            chosen = [name for name in names if columns is None or name in columns]
            # Not read_table: one of its threads may still run when the interpreter ends.
            return file.read(columns=chosen, use_threads=False)
    return _Text(path).read(columns)


def read_text(path: Path) -> bytes:
    """Return the UTF-8 of a text file, without a byte order mark.

    Raises
    ------
    UsageError
        There is no file at ``path``.
    DataError
        The file is no UTF-8 text, or holds a NUL. The message names the line.
    ResourceError
        The file cannot be read.
    """
    text = _read_bytes(path)
    for magic, what in _FORMATS_BY_MAGIC.items():
        if text.startswith(magic):
            raise DataError(f"{path}: expected UTF-8 text, found {what}")
    try:
        text.decode()
    except UnicodeDecodeError as error:
        number = text.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {number:,}: expected UTF-8 text: {error.reason}") from None
    nul = text.find(b"\0")
    if nul >= 0:
        number = text.count(b"\n", 0, nul) + 1
        raise DataError(f"{path}, line {number:,}: expected text, found a NUL")
    return text.removeprefix(b"\xef\xbb\xbf")


class _Text:
    """A text table whose header was read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = read_text(path)
        _, header = next(text_lines(self.text), (1, ""))
        if not header:
            raise DataError(f"{path}, line 1: expected a table with a header, found nothing")
        delimiter = "\t" if "\t" in header else ","
        names = split_row(header, delimiter)
        self.shape = RowShape(path, delimiter, len(names))
        self.names = names

    def read(self, columns: Collection[str] | None) -> pa.Table:
        quoting = None
        if b'"' in self.text:
            quoting = decide_quoting(self.text, self.shape)
        elif b"\r" in self.text.replace(b"\r\n", b""):
            self._check_lines()
        chosen = [name for name in self.names if columns is None or name in columns]
        is_quoted = quoting is not None and quoting.is_syntax
        try:
            table = pa_csv.read_csv(
                pa.BufferReader(self.text),
                parse_options=pa_csv.ParseOptions(
                    delimiter=self.shape.delimiter,
                    quote_char='"' if is_quoted else False,
                    newlines_in_values=is_quoted,
                ),
                # Without types Arrow guesses, and an id such as 007 would become the number 7.
                convert_options=pa_csv.ConvertOptions(
                    column_types={name: pa.string() for name in self.names},
                    include_columns=chosen,
                    strings_can_be_null=True,
                    null_values=[""],
                ),
            )
        except pa.ArrowInvalid as error:
            self._check_lines()
            raise DataError(f"{self.path}: expected a table with a header: {error}") from None
        self._check_count(table, quoting)
        return table

    def _check_lines(self) -> None:
        """Raise about the first line that is no row, of a table without quotation marks."""
        for number, line in text_lines(self.text):
            if not self.shape.is_line(line):
                raise self.shape.fault(number, line)

    def _check_count(self, table: pa.Table, quoting: Quoting | None) -> None:
        if quoting is not None and table.num_rows != quoting.row_count - 1:
            raise DataError(
                f"{self.path}: expected {quoting.row_count - 1:,} rows, found {table.num_rows:,}"
            )


def _is_parquet(path: Path) -> bool:
    start = _read_bytes(path, len(_PARQUET_MAGIC))
    return path.suffix == ".parquet" or start == _PARQUET_MAGIC


def _read_bytes(path: Path, count: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UsageError(f"{path}: expected a file, found a folder") from None
    except OSError as error:
        raise ResourceError(f"{path}: cannot be read: {error.strerror}") from None
