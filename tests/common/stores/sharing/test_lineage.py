"""How two lists of segments become one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crossan.cache_schema.manifest import SegmentEntry
from crossan.cache_schema.segment import Holding
from crossan.common.stores.sharing.lineage import unite


def entry(name):
    return SegmentEntry(name, "0" * 64)


def united(first, second, compacted=None, rescued=None):
    """Unite segments named by letters; a capital letter holds what the two dictionaries say, whole or in part."""

    def holding(found):
        name = found.segment_id
        return Holding(frozenset((compacted or {}).get(name, name)), frozenset((rescued or {}).get(name, "")))

    made = unite([entry(name) for name in first], [entry(name) for name in second], holding)
    return "".join(found.segment_id for found in made)


def test_what_only_the_second_has_comes_last():
    assert united("ab", "acd") == "abcd"
    assert united("", "ab") == "ab"
    assert united("ab", "") == "ab"


def test_what_the_first_has_lost_comes_back_in_its_place():
    assert united("bc", "abc") == "abc"
    assert united("axc", "abc") == "axbc"


def test_a_compaction_of_what_is_there_adds_nothing():
    assert united("abc", "X", {"X": "ab"}) == "abc"
    assert united("X", "abd", {"X": "ab"}) == "Xd"


def test_a_compaction_that_brings_more_stays_before_what_came_later():
    # X gathers a and b; c came after a: X must not win over c.
    assert united("ac", "X", {"X": "ab"}) == "aXc"


def test_a_compaction_of_what_lies_apart_does_not_hide_what_lies_between():
    # Z gathers a, b and e, and n, which is new; c and d came after a and b and are no part of it.
    assert united("abcde", "Z", {"Z": "aben"}) == "abZcd"
    assert united("Z", "abcde", {"Z": "abe"}) == "Zcd"


def test_a_whole_segment_goes_before_what_was_rescued_of_it():
    # R is what a repair saved of a: what came after still wins.
    assert united("Rb", "a", rescued={"R": "a"}) == "aRb"
    assert united("Rb", "ab", rescued={"R": "a"}) == "aRb"
    assert united("RX", "a", {"X": "bc"}, rescued={"R": "a"}) == "aRX"
    assert united("Xd", "a", {"X": "Rb"}, rescued={"X": "a"}) == "aXd"


def test_what_was_rescued_adds_nothing_to_the_whole():
    assert united("ab", "R", rescued={"R": "a"}) == "ab"
    assert united("X", "R", {"X": "ab"}, rescued={"R": "ab"}) == "X"


def test_what_was_rescued_of_more_than_is_there_stands_where_that_stood():
    assert united("ac", "R", rescued={"R": "ab"}) == "aRc"
    assert united("Rc", "S", rescued={"R": "a", "S": "a"}) == "RSc"


def test_what_came_before_a_damaged_segment_comes_before_what_was_rescued_of_it():
    assert united("Rc", "ba", rescued={"R": "a"}) == "baRc"


@given(st.lists(st.sampled_from("abcdefgh"), unique=True), st.lists(st.sampled_from("abcdefgh"), unique=True))
def test_nothing_is_lost_nothing_comes_twice_and_both_orders_are_kept(first, second):
    first, second = sorted(first), sorted(second)  # two lists whose orders agree
    made = united(first, second)
    assert sorted(made) == sorted({*first, *second})
    assert [name for name in made if name in first] == first
    assert [name for name in made if name in second] == second
    assert united(made, second) == made == united(made, made)
