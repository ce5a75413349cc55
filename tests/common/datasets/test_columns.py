"""Ids and texts from Arrow columns of every type."""

import pyarrow as pa
import pytest

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
