"""Turn an Arrow column of any type into ids or texts, or say which row is neither.

Here, and in `times` for timestamps, is the door at which foreign tables come in:
every format, and a dataset folder that someone else wrote, passes through it.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from crossan.cache_schema.errors import DataError
from crossan.cache_schema.item_id import LONGEST_ID_BYTES, id_fault, named, shortened

__all__ = [
    "check_ids",
    "decoded",
    "first_row",
    "ids_of",
    "is_number",
    "is_text",
    "row_error",
    "texts_of",
    "without_fractions",
]

_EXACT_WHOLE = {16: 2**11, 32: 2**24, 64: 2**53}
"""Up to where floats of so many bits hold every whole number."""
_VIEWED = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}


def ids_of(column: pa.ChunkedArray | pa.Array, *, source: Path | str, name: str) -> pa.ChunkedArray:
    """Return a column of user or item ids as ``string``, ``(rows,)``.

    Text stays what it is; bytes are read as UTF-8. Integers, and floats and decimals
    that are whole, become their digits: 3.0 is the id ``3``. Dictionaries are decoded.

    Parameters
    ----------
    column
        One column of a table, of any Arrow type.
    source, name
        The file and the column, for messages.

    Raises
    ------
    DataError
        A value that is no id: null, empty, with a NUL, longer than 1,024 bytes, no
        valid UTF-8, not whole, or of another type. The message names file, column and row.
    """
    plain = decoded(column)
    kind = plain.type
    if plain.null_count:
        row = first_row(pc.is_null(plain))
        raise row_error(
            source, name, row, f"expected an id, found null ({plain.null_count:,} such rows)"
        )
    if is_text(kind):
        ids = _to_string(plain, source, name)
    elif pt.is_integer(kind):
        ids = pc.cast(plain, pa.string())
    elif pt.is_floating(kind):
        ids = _digits_of_floats(plain, source, name)
    elif is_number(kind):
        ids = _digits_of_decimals(plain, source, name)
    elif pt.is_null(kind):
        ids = pc.cast(plain, pa.string())  # a column without rows has no type
    else:
        raise _type_error(plain, source, name, "ids")
    check_ids(ids, source=source, name=name)
    return ids


def texts_of(
    column: pa.ChunkedArray | pa.Array, *, source: Path | str, name: str
) -> pa.ChunkedArray:
    """Return a column of titles or paths as ``string``, ``(rows,)``.

    Nulls stay. Numbers become the digits that they are written with: a title can be ``1984``.

    Raises
    ------
    DataError
        Bytes that are no valid UTF-8, or a type that is no text. The message names
        file, column and row.
    """
    plain = decoded(column)
    kind = plain.type
    if plain.null_count == len(plain):
        return pa.chunked_array([pa.nulls(len(plain), pa.string())])
    if is_text(kind):
        return _to_string(plain, source, name)
    if pt.is_floating(kind):
        # pandas makes floats of whole numbers beside a missing one, and NaN of that one.
        numbers = pc.cast(plain, pa.float64())
        numbers = pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)
        return pc.replace_substring_regex(pc.cast(numbers, pa.string()), r"^(-?\d+)\.0$", r"\1")
    if is_number(kind):
        return pc.cast(plain, pa.string())
    raise _type_error(plain, source, name, "text")


def check_ids(ids: pa.ChunkedArray | pa.Array, *, source: Path | str, name: str) -> None:
    """Refuse a ``string`` column that holds what is no id.

    Raises
    ------
    DataError
        As `ids_of`.
    """
    if ids.null_count:
        row = first_row(pc.is_null(ids))
        raise row_error(
            source, name, row, f"expected an id, found null ({ids.null_count:,} such rows)"
        )
    if not len(ids):
        return
    try:
        ids.validate(full=True)  # Arrow reads a parquet without looking whether its text is UTF-8
    except pa.ArrowInvalid as error:
        raise _utf8_error(ids, source, name, error) from None
    lengths = pc.binary_length(ids)
    faults = pc.or_(
        pc.or_(pc.equal(lengths, 0), pc.greater(lengths, LONGEST_ID_BYTES)),
        pc.match_substring(ids, "\0"),
    )
    if pc.any(faults).as_py():
        row = first_row(faults)
        raise row_error(source, name, row, id_fault(ids[row].as_py()) or "expected an id")


def without_fractions(ids: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return ids such as ``3.0`` as ``3``, or None unless every one is such a number.

    A program that kept ids as floats has written them so. Whether they are the same
    as the ``3`` of another table is for whoever joins the two.
    """
    is_whole = pc.match_substring_regex(ids, r"^-?\d+\.0+$")
    if not len(ids) or not pc.all(is_whole).as_py():
        return None
    return pc.replace_substring_regex(ids, r"\.0+$", "")


def decoded(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray:
    """Return the column without dictionaries or runs."""
    chunked = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    if pt.is_run_end_encoded(chunked.type):
        chunked = pa.chunked_array(
            [pc.run_end_decode(chunk) for chunk in chunked.chunks], chunked.type.value_type
        )
    if pt.is_dictionary(chunked.type):
        # Arrow decodes no dictionary of views.
        kind = _VIEWED.get(chunked.type.value_type, chunked.type.value_type)
        chunked = pa.chunked_array(
            [pc.cast(chunk.dictionary, kind).take(chunk.indices) for chunk in chunked.chunks], kind
        )
    return chunked


def first_row(mask: pa.ChunkedArray | pa.Array) -> int:
    """Return the position of the first true value, from 0, and -1 where none is."""
    row: int = pc.index(mask, True).as_py()
    return row


def row_error(source: Path | str, name: str, row: int, fault: str) -> DataError:
    """Return the error about a row, counted from 0.

    Its message counts from 1, without the header.
    """
    return DataError(f"{source}, column {name}, row {row + 1:,}: {fault}")


def is_number(kind: pa.DataType) -> bool:
    """Return whether the type is of integers, floats or decimals that Arrow can compute with."""
    if pt.is_decimal(kind):
        return bool(kind.scale >= 0)
    return bool(pt.is_integer(kind) or pt.is_floating(kind))


def is_text(kind: pa.DataType) -> bool:
    """Return whether the type is one of Arrow's for text or bytes."""
    return any(
        is_kind(kind)
        for is_kind in (
            pt.is_string,
            pt.is_large_string,
            pt.is_string_view,
            pt.is_binary,
            pt.is_large_binary,
            pt.is_binary_view,
            pt.is_fixed_size_binary,
        )
    )


def _to_string(column: pa.ChunkedArray, source: Path | str, name: str) -> pa.ChunkedArray:
    try:
        texts = pc.cast(column, pa.string())
        texts.validate(full=True)
    except pa.ArrowInvalid as error:
        raise _utf8_error(column, source, name, error) from None
    except pa.ArrowNotImplementedError:  # Arrow 17 casts no views
        raise _type_error(column, source, name, "text") from None
    return texts


def _utf8_error(
    column: pa.ChunkedArray | pa.Array, source: Path | str, name: str, reason: pa.ArrowInvalid
) -> DataError:
    """Return the error about the first row that is no UTF-8."""
    row = 0
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        for value in pc.cast(chunk, pa.large_binary()).to_pylist():
            if not _is_utf8(value or b""):
                return row_error(source, name, row, f"expected UTF-8, found {shortened(value)}")
            row += 1
    return DataError(f"{source}, column {name}: {reason}")


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _digits_of_floats(column: pa.ChunkedArray, source: Path | str, name: str) -> pa.ChunkedArray:
    bound = float(_EXACT_WHOLE[column.type.bit_width])
    numbers = pc.cast(column, pa.float64())
    is_whole = pc.and_(pc.less_equal(pc.abs(numbers), bound), pc.equal(numbers, pc.trunc(numbers)))
    if not pc.all(is_whole).as_py() and len(numbers):
        row = first_row(pc.invert(is_whole))
        fault = (
            f"expected an id, found {numbers[row].as_py()!r} "
            f"({column.type} holds ids that are whole and at most {bound:,.0f})"
        )
        raise row_error(source, name, row, fault)
    return pc.cast(pc.cast(numbers, pa.int64()), pa.string())


def _digits_of_decimals(column: pa.ChunkedArray, source: Path | str, name: str) -> pa.ChunkedArray:
    is_whole = pc.equal(column, pc.trunc(column))
    if not pc.all(is_whole).as_py() and len(column):
        row = first_row(pc.invert(is_whole))
        raise row_error(source, name, row, f"expected a whole number, found {column[row].as_py()}")
    return pc.cast(pc.cast(column, pa.decimal256(column.type.precision, 0)), pa.string())


def _type_error(column: pa.ChunkedArray, source: Path | str, name: str, what: str) -> DataError:
    message = f"expected {what}, found the type {named(str(column.type))}"
    if not len(column):
        return DataError(f"{source}, column {name}: {message}")
    return row_error(source, name, max(0, first_row(pc.is_valid(column))), message)
