"""Rows of a log that a dataset has already are told from new ones, however logs overlap."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.cache_schema.errors import DataError
from crossan.common.datasets.folder import INTERACTION_SCHEMA
from crossan.common.datasets.log_rows import is_new
from support.counts import of_full


def table(rows):
    columns = {name: [row[n] for row in rows] for n, name in enumerate(INTERACTION_SCHEMA.names)}
    return pa.table(columns, INTERACTION_SCHEMA)


def new_rows(log, known):
    flags = is_new(table(log), table(known))
    return [row for row, is_added in zip(log, flags.tolist(), strict=True) if is_added]


A, B, C = ("u", "a", 1), ("u", "b", 1), ("v", "a", 1)


@pytest.mark.parametrize(
    ("log", "known", "expected"),
    [
        ([A, B], [A], [B]),
        ([A, A, B], [A], [A, B]),
        ([A, B], [A, A, B], []),
        ([C, A], [B], [C, A]),
        ([("u", "a", 2)], [A], [("u", "a", 2)]),
        ([], [A], []),
        ([A], [], [A]),
    ],
)
def test_rows_with_times(log, known, expected):
    assert new_rows(log, known) == expected


def sequence(text, user="u"):
    return [(user, item, None) for item in text]


@pytest.mark.parametrize(
    ("log", "known", "expected"),
    [
        ("cde", "abc", "de"),
        ("abc", "abc", ""),
        ("abcd", "abc", "d"),
        ("aba", "ab", "a"),
        ("xy", "abc", "xy"),
        ("bc", "abc", ""),
        ("ab", "abc", "ab"),  # no end of it: the user has come back to them
    ],
)
def test_sequences_without_times(log, known, expected):
    other = sequence("q", user="v")
    assert new_rows(sequence(log) + other, sequence(known)) == sequence(expected) + other


ROWS = st.lists(
    st.tuples(st.sampled_from("uv"), st.sampled_from("ab"), st.integers(0, 1)), max_size=8
)


@settings(max_examples=of_full(80, 27))
@given(log=ROWS, known=ROWS)
def test_the_union_has_each_row_as_often_as_the_one_that_has_it_more_often(log, known):
    added = new_rows(log, known)
    assert Counter(known + added) == Counter(known) | Counter(log)
    assert new_rows(log, known + added) == []
    left = Counter(known)
    slow = []
    for row in log:
        left[row] -= 1
        if left[row] < 0:
            slow.append(row)
    assert added == slow


@settings(max_examples=of_full(80, 27))
@given(log=st.text("ab", max_size=6), known=st.text("ab", max_size=6))
def test_a_sequence_that_comes_again_adds_nothing(log, known):
    added = new_rows(sequence(log), sequence(known))
    assert new_rows(sequence(log), sequence(known) + added) == []
    assert "".join(item for _, item, _ in sequence(known) + added).endswith(log)


def test_times_of_two_kinds_are_refused():
    dated = [("u", "a", 1_700_000_000_000)]
    with pytest.raises(DataError, match="expected timestamps, as the dataset has, found no time"):
        new_rows(sequence("a"), [A])
    with pytest.raises(DataError, match="expected no timestamps, as the dataset has, found times"):
        new_rows([A], sequence("a"))
    with pytest.raises(DataError, match="expected timestamps like those of the dataset, 1 to 1 ms"):
        new_rows(dated, [A])
    assert new_rows(dated, [("u", "a", 1_600_000_000_000)]) == dated
