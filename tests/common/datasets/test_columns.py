"""Ids and texts from Arrow columns of every type."""

import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossan.cache_schema.errors import DataError
from crossan.common.datasets.columns import ids_of, texts_of, without_fractions


@pytest.mark.parametrize(
    ("column", "ids"),
    [
        (pa.array(["a", "007"]), ["a", "007"]),
        (pa.array([7, -3], pa.int64()), ["7", "-3"]),
        (pa.array([7.0, -0.0], pa.float64()), ["7", "0"]),
        (pa.array([b"a", "ü".encode()]), ["a", "ü"]),
        (pa.array([5, 5, 6], pa.uint8()).dictionary_encode(), ["5", "5", "6"]),
        (pa.array([], pa.null()), []),
    ],
)
def test_ids_are_the_texts_of_what_a_column_holds(column, ids):
    assert ids_of(column, source="f.parquet", name="item_id").to_pylist() == ids


@pytest.mark.parametrize(
    ("column", "fault"),
    [
        (pa.array(["a", None]), "row 2: expected an id, found null"),
        (pa.array(["a", ""]), "row 2: expected an id without NUL and not empty, found ''"),
        (pa.array(["a\0"]), "row 1: expected an id without NUL"),
        (pa.array(["ü" * 512, "ü" * 513]), "row 2: expected an id of at most 1,024 bytes"),
        (pa.array([b"\xff"]), "row 1: expected UTF-8"),
        (pa.array([1.0, 1.5]), "row 2: expected an id, found 1.5"),
        (pa.array([float("nan")]), "row 1: expected an id, found nan"),
        (pa.array([2.0**24 + 2], pa.float32()), "row 1: expected an id, found 16777218.0"),
        (pa.array([True]), "row 1: expected ids, found the type bool"),
        (pa.array([None, [1]]), "row 1: expected an id, found null"),
        (pa.array([[1]]), "row 1: expected ids, found the type list"),
    ],
)
def test_what_is_no_id_is_refused_with_file_column_and_row(column, fault):
    with pytest.raises(DataError, match=f"^f.parquet, column item_id, {fault}"):
        ids_of(column, source="f.parquet", name="item_id")


def test_texts_keep_nulls_and_the_digits_of_numbers():
    texts = texts_of(pa.array([1984.0, float("nan"), None, 2.5]), source="f", name="title")
    assert texts.to_pylist() == ["1984", None, None, "2.5"]


def test_fractions_go_only_where_every_id_has_one():
    assert without_fractions(pa.chunked_array([["3.0", "12.00"]])).to_pylist() == ["3", "12"]
    assert without_fractions(pa.chunked_array([["3.0", "4"]])) is None
    assert without_fractions(pa.chunked_array([["3.5"]])) is None


def decimals(places, bound):
    return st.integers(-bound, bound).map(lambda digits: Decimal(f"{digits}E-{places}"))


texts = st.text(st.characters(codec="utf-8"), max_size=3) | st.sampled_from(["x" * 1025, "\0"])
blobs = st.binary(max_size=3) | st.just(b"x" * 1025)
floats = st.floats(width=16) | st.integers(-2048, 2048).map(float)
VALUES_BY_TYPE = {
    **{
        getattr(pa, f"{sign}int{bits}")(): st.integers(
            0 if sign else -(2 ** (bits - 1)), 2**bits - 1 if sign else 2 ** (bits - 1) - 1
        )
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
    pa.float16(): floats,
    pa.float32(): floats | st.floats(width=32),
    pa.float64(): floats | st.floats(),
    pa.string(): texts,
    pa.large_string(): texts,
    pa.string_view(): texts,
    pa.binary(): blobs,
    pa.large_binary(): blobs,
    pa.binary_view(): blobs,
    pa.binary(3): st.binary(min_size=3, max_size=3),
    pa.decimal128(20, 3): decimals(3, 10**6),
    pa.decimal128(38, 0): decimals(0, 10**38 - 1),
    pa.decimal256(76, 10): decimals(10, 10**60) | st.integers(0, 10**40).map(Decimal),
    pa.bool_(): st.booleans(),
    pa.date32(): st.dates(),
    pa.date64(): st.dates(),
    pa.time64("us"): st.times(),
    pa.timestamp("us", "UTC"): st.datetimes(),
    pa.duration("us"): st.timedeltas(timedelta(-9), timedelta(9)),
    pa.list_(pa.int8()): st.lists(st.integers(0, 9), max_size=2),
    pa.struct([("a", pa.int8())]): st.fixed_dictionaries({"a": st.integers(0, 9)}),
    pa.map_(pa.string(), pa.int8()): st.just([("a", 1)]),
    pa.month_day_nano_interval(): st.just(pa.MonthDayNano([1, 2, 3])),
    pa.null(): st.none(),
}
WHOLE_FLOATS = {pa.float16(): 2**11, pa.float32(): 2**24, pa.float64(): 2**53}


@st.composite
def columns(draw, kinds=tuple(VALUES_BY_TYPE)):
    """Draw a column, plain or encoded, in one chunk or two, and its values."""
    kind = draw(st.sampled_from(kinds))
    nothing = st.none() if draw(st.booleans()) else st.nothing()
    values = draw(st.lists(VALUES_BY_TYPE[kind] | nothing, max_size=5))
    array = pa.array(values, kind)
    encoding = draw(st.sampled_from(["plain", "dictionary", "runs", "slice"]))
    if encoding == "dictionary" and not pa.types.is_nested(kind):
        array = encoded(array, pa.Array.dictionary_encode)
    elif encoding == "runs":
        array = encoded(array, pa.compute.run_end_encode)
    elif encoding == "slice":
        array = pa.concat_arrays([array, array]).slice(len(array))
    middle = draw(st.integers(0, len(array)))
    chunked = pa.chunked_array([array.slice(0, middle), array.slice(middle)], array.type)
    return draw(st.sampled_from([array, chunked])), kind, values


def encoded(array, encode):
    try:
        return encode(array)
    except pa.ArrowNotImplementedError:
        return array


def id_of(value, kind):
    """Return the id that a value is, or None for none, in plain Python."""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return None
    if isinstance(value, str):
        return value if 0 < len(value.encode()) <= 1024 and "\0" not in value else None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        is_whole = value.is_integer() and abs(value) <= WHOLE_FLOATS[kind]
        return str(int(value)) if is_whole else None
    if isinstance(value, Decimal):
        return str(int(value)) if value == int(value) else None
    return None


@given(columns())
def test_ids_are_those_of_plain_python_or_the_row_is_named(drawn):
    column, kind, values = drawn
    ids = [id_of(value, kind) for value in values]
    try:
        result = ids_of(column, source="f.parquet", name="item_id").to_pylist()
    except DataError as error:
        result = error.message
    if isinstance(result, str):
        row = re.match(r"f.parquet, column item_id(?:, row (\d+))?: expected ", result)[1]
        assert (ids[int(row) - 1] is None) if row else not values
    else:
        assert result == ids


@given(columns())
def test_texts_are_those_of_the_values_or_the_row_is_named(drawn):
    column, _kind, values = drawn
    try:
        result = texts_of(column, source="f.parquet", name="title").to_pylist()
    except DataError as error:
        result = error.message
    if isinstance(result, str):
        row = re.match(r"f.parquet, column title(?:, row (\d+))?: expected ", result)[1]
        refused = (bytes, bool, date, datetime, time, timedelta, list, dict, pa.MonthDayNano)
        assert isinstance(values[int(row) - 1], refused) if row else not values
    else:
        assert [text is None for text in result] == [
            value is None or value != value for value in values
        ]
        kept = [(text, value) for text, value in zip(result, values, strict=True) if text]
        assert all(text == value for text, value in kept if isinstance(value, str))
        assert all(float(text) == value for text, value in kept if isinstance(value, float))
