"""Reading CSV, TSV and parquet of unknown origin, no row of which may be lost."""

from __future__ import annotations

import stat
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from crossan.cache_schema.errors import DataError, ResourceError, UsageError
from crossan.common.datasets.parquet import opened_parquet, read_columns
from crossan.common.datasets.quoting import Quotation, Quoting, decide_quoting, split_row
from crossan.common.datasets.text_rows import RowShape, split_separator, text_lines

__all__ = ["column_names", "read_marked_table", "read_table", "read_text"]

_FORMATS_BY_MAGIC = {
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"\x1f\x8b": "a gzip file",
    b"PK\x03\x04": "a zip file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
}
_PARQUET_MAGIC = b"PAR1"
_HEAD_BYTES = 1 << 20
"""What is read of a text table for the names of its columns."""


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
    return _Text(path, read_text(path, _HEAD_BYTES)).names


def read_table(path: Path, columns: Collection[str] | None = None) -> pa.Table:
    """Read a parquet, or a CSV or TSV with a header, whose columns are all text.

    The columns of a text are parted by tabs, commas, semicolons or bars, see
    `split_separator`. It may quote fields by RFC 4180 or not at all, see `decide_quoting`.
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
    return read_marked_table(path, columns)[0]


def read_marked_table(
    path: Path, columns: Collection[str] | None = None
) -> tuple[pa.Table, Quotation | None]:
    """Read a table as `read_table`, and say what its quotation marks are."""
    if _is_parquet(path):
        with opened_parquet(path) as file:
            chosen = _chosen(path, file.schema_arrow.names, columns)
            return read_columns(file, chosen), None
    return _Text(path, read_text(path)).read(columns)


def read_text(path: Path, byte_count: int = -1) -> bytes:
    """Return the UTF-8 of a text file, without a byte order mark.

    Parameters
    ----------
    path
        The file.
    byte_count
        How much of it to read; of a longer file the last line is cut off. All by default.

    Raises
    ------
    UsageError
        There is no file at ``path``.
    DataError
        The file is no UTF-8 text, or holds a NUL. The message names the line.
    ResourceError
        The file cannot be read.
    """
    text = _read_bytes(path, byte_count)
    if len(text) == byte_count:
        text = text[: text.rfind(b"\n") + 1]
        if not text:
            raise DataError(f"{path}, line 1: expected less than {byte_count:,} bytes")
    for magic, what in _FORMATS_BY_MAGIC.items():
        if text.startswith(magic):
            raise DataError(
                f"{path}: expected UTF-8 text, found {what}",
                remedy="Unpack it, or write it as UTF-8",
            )
    if not _is_utf8(text):
        number = next(n for n, line in enumerate(text.split(b"\n"), 1) if not _is_utf8(line))
        raise DataError(f"{path}, line {number:,}: expected UTF-8 text, found other bytes")
    nul = text.find(b"\0")
    if nul >= 0:
        number = text.count(b"\n", 0, nul) + 1
        raise DataError(f"{path}, line {number:,}: expected text, found a NUL")
    return text.removeprefix(b"\xef\xbb\xbf")


class _Text:
    """A text table whose header was read."""

    def __init__(self, path: Path, text: bytes) -> None:
        self.path = path
        self.text, delimiter = split_separator(text)
        _, header = next(text_lines(self.text), (1, ""))
        if not header:
            raise DataError(f"{path}, line 1: expected a table with a header, found nothing")
        names = split_row(header, delimiter)
        self.shape = RowShape(path, delimiter, len(names))
        self.names = names

    def read(self, columns: Collection[str] | None) -> tuple[pa.Table, Quotation | None]:
        quoting = None
        if b'"' in self.text:
            quoting = decide_quoting(self.text, self.shape)
        elif b"\r" in self.text.replace(b"\r\n", b""):
            self._check_lines()
        chosen = _chosen(self.path, self.names, columns)
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
        return table, None if quoting is None else quoting.quotation

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


def _chosen(path: Path, names: list[str], columns: Collection[str] | None) -> list[str]:
    chosen = [name for name in names if columns is None or name in columns]
    doubled = [name for name in chosen if names.count(name) > 1]
    if doubled and columns is not None:
        raise DataError(
            f"{path}, row 1: expected one column {doubled[0]}, found {names.count(doubled[0])}"
        )
    return chosen


def _is_utf8(text: bytes) -> bool:
    # Arrow looks at the bytes where they lie; to decode them takes up to four times their memory.
    offsets = pa.array([0, len(text)], pa.int64()).buffers()[1]
    array = pa.Array.from_buffers(pa.large_string(), 1, [None, offsets, pa.py_buffer(text)])
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _is_parquet(path: Path) -> bool:
    start = _read_bytes(path, len(_PARQUET_MAGIC))
    return path.suffix == ".parquet" or start == _PARQUET_MAGIC


def _read_bytes(path: Path, count: int = -1) -> bytes:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
            raise UsageError(f"{path}: expected a file, found {what}")
        with path.open("rb") as file:
            return file.read(count)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{path}: no such file") from None
    except OSError as error:
        raise ResourceError(f"{path}: cannot be read: {error.strerror}") from None
