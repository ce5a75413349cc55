"""Reading CSV, TSV and parquet of unknown origin into Arrow columns of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from crossan.cache_schema.errors import DataError, UsageError

__all__ = ["pick_columns", "read_sequences", "read_table"]


def read_table(path: Path) -> pa.Table:
    """Read a parquet, or a CSV/TSV with a header and RFC 4180 quoting, every column as text.

    Raises
    ------
    UsageError
        There is no file at ``path``.
    DataError
        The file is not such a table.
    """
    try:
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                return file.read(use_threads=False)
        with path.open(encoding="utf-8-sig") as lines:
            header = lines.readline().rstrip("\r\n")
        delimiter = "\t" if "\t" in header else ","
        # Without types Arrow guesses, and an item id such as 007 would become the number 7.
        names = next(iter(_split_header(header, delimiter)), [])
        return pa_csv.read_csv(
            path,
            parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                strings_can_be_null=True,
                null_values=[""],
            ),
        )
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected a table with a header: {error}") from None


def pick_columns(
    table: pa.Table, source: Path, names: Mapping[str, Sequence[str]], required: Sequence[str]
) -> pa.Table:
    """Return the columns under our names.

    Parameters
    ----------
    table
        What was read from ``source``.
    names
        From our name of a column to the names that it may have in the table. The first
        that exists is taken.
    required
        Our names of the columns that must exist. Others become null.

    Raises
    ------
    UsageError
        A required column is missing. The message lists the columns that exist, and the
        flag that names one.
    """
    columns = {}
    doubled = {name for name in table.column_names if table.column_names.count(name) > 1}
    for ours, theirs in names.items():
        name = next((name for name in theirs if name in table.column_names), None)
        if name is None and ours in required:
            raise UsageError(
                f"{source}: expected a column for {ours} ({', '.join(theirs)}), "
                f"found {', '.join(table.column_names)}",
                remedy=f"Name it: --column {ours}=THEIR_NAME",
            )
        if name in doubled:
            raise DataError(f"{source}, row 1: expected one column {name}, found several")
        columns[ours] = (
            pa.nulls(table.num_rows, pa.string()) if name is None else table.column(name)
        )
    return pa.table(columns)


def read_sequences(path: Path) -> pa.Table:
    """Read ``user TAB item item ...`` lines into interactions without timestamps.

    Each line names its oldest item first.

    Raises
    ------
    UsageError
        There is no file at ``path``.
    DataError
        A line without exactly one tab, or a user on two lines.
    """
    users: list[str] = []
    items: list[str] = []
    seen: set[str] = set()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8 text: {error}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        user, tab, rest = line.partition("\t")
        if not tab or "\t" in rest.strip() or not rest.split():
            raise DataError(
                f"{path}, line {number}: expected 'user TAB item item ...', found {line[:60]!r}"
            )
        if user in seen:
            raise DataError(
                f"{path}, line {number}: user {user} was already given on an earlier line"
            )
        seen.add(user)
        sequence = rest.split()
        users += [user] * len(sequence)
        items += sequence
    return pa.table(
        {"user_id": users, "item_id": items, "timestamp": pa.nulls(len(items), pa.int64())}
    )


def _split_header(header: str, delimiter: str) -> list[list[str]]:
    import csv

    return list(csv.reader([header], delimiter=delimiter))
