"""How two lists of segments become one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crossan.cache_schema.manifest import SegmentEntry
from crossan.common.stores.sharing.lineage import unite


def entry(name):
    return SegmentEntry(name, "0" * 64)


def united(first, second, compacted=None):
    """Unite segments named by letters; ``compacted`` says what a capital letter has gathered."""
    made = unite(
        [entry(name) for name in first],
        [entry(name) for name in second],
        lambda found: frozenset((compacted or {}).get(found.segment_id, found.segment_id)),
    )
    return "".join(found.segment_id for found in made)


def test_what_only_the_second_has_comes_last():
    assert united("ab", "acd") == "abcd"
    assert united("", "ab") == "ab"
    assert united("ab", "") == "ab"


def test_a_compaction_of_what_is_there_adds_nothing():
    assert united("abc", "X", {"X": "ab"}) == "abc"
    assert united("X", "abd", {"X": "ab"}) == "Xd"


def test_a_compaction_that_brings_more_stays_before_what_came_later():
    # X gathers a and b; c came after a: X must not win over c.
    assert united("ac", "X", {"X": "ab"}) == "aXc"


@given(st.permutations("abcdef"), st.integers(0, 6), st.integers(0, 6))
def test_nothing_is_lost_and_nothing_twice(names, cut, overlap):
    first, second = names[:cut], names[max(0, cut - overlap) :]
    assert sorted(united(first, second)) == sorted(names)
    assert united(first, second)[: len(first)] == "".join(first)


@given(st.permutations("abcd"), st.integers(0, 4))
def test_uniting_again_changes_nothing(names, cut):
    once = united(names[:cut], names[cut:])
    assert united(once, names[cut:]) == once == united(once, once)
