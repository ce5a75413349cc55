"""How two lists of segments become one, and that every place then shows the same row of each item."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.cache_schema.manifest import SegmentEntry
from crossan.cache_schema.segment import Holding
from crossan.common.stores.sharing.lineage import unite
from support.counts import of_full


def entry(name):
    return SegmentEntry(name, "0" * 64)


def united(ours, theirs, compacted=None, rescued=None, stamps="", is_theirs_first=False):
    """Unite segments named by letters; those in ``stamps`` have their place there as stamp, others none.

    A capital letter holds what the two dictionaries say, whole or in part.
    """

    def holding(found):
        name = found.segment_id
        whole, part = (compacted or {}).get(name, name), (rescued or {}).get(name, "")
        return Holding(frozenset(whole), frozenset(part), stamps.find(name) + 1)

    ours, theirs = [entry(name) for name in ours], [entry(name) for name in theirs]
    made = unite(ours, theirs, holding, is_theirs_first=is_theirs_first)
    return "".join(found.segment_id for found in made)


def test_segments_lie_in_the_order_of_their_stamps():
    assert united("ad", "abc", stamps="abcd") == "abcd"
    assert united("bd", "ac", stamps="abcd") == "abcd"
    assert united("", "ab", stamps="ab") == "ab"
    assert united("ab", "", stamps="ab") == "ab"


def test_what_adds_nothing_changes_nothing():
    assert united("ba", "a", stamps="ab") == "ba"
    assert united("abc", "X", {"X": "ab"}, stamps="abXc") == "abc"
    assert united("X", "abd", {"X": "ab"}, stamps="abXd") == "Xd"
    assert united("Z", "abcde", {"Z": "abe"}, stamps="abcdeZ") == "cdZ"


def test_what_brings_more_stands_for_what_it_gathers():
    assert united("abcde", "Z", {"Z": "aben"}, stamps="abcdenZ") == "cdZ"
    assert united("abX", "Y", {"X": "cd", "Y": "acdn"}, stamps="abcXdnY") == "bY"


def test_what_was_rescued_adds_nothing_to_the_whole_and_makes_room_for_it():
    assert united("ab", "R", rescued={"R": "a"}, stamps="aRb") == "ab"
    assert united("X", "R", {"X": "ab"}, rescued={"R": "ab"}, stamps="abXR") == "X"
    assert united("Rb", "a", rescued={"R": "a"}, stamps="aRb") == "ab"


def test_what_was_rescued_of_more_than_is_there_stays():
    assert united("ac", "R", rescued={"R": "ab"}, stamps="abRc") == "aRc"
    assert united("Xd", "a", {"X": "Rb"}, rescued={"X": "a"}, stamps="abXd") == "aXd"


def test_without_stamps_the_order_of_both_lists_stays_and_what_is_second_comes_last():
    assert united("ab", "acd") == "abcd"
    assert united("ab", "acd", is_theirs_first=True) == "acdb"
    assert united("bc", "abc") == "abc"
    assert united("axc", "abc") == "axbc"
    assert united("ac", "X", {"X": "ab"}) == "Xc"


@given(
    st.lists(st.sampled_from("abcdefgh"), unique=True),
    st.lists(st.sampled_from("abcdefgh"), unique=True),
)
def test_without_stamps_nothing_is_lost_nothing_comes_twice_and_both_orders_are_kept(ours, theirs):
    ours, theirs = sorted(ours), sorted(theirs)  # two lists whose orders agree
    made = united(ours, theirs)
    assert sorted(made) == sorted({*ours, *theirs})
    assert [name for name in made if name in ours] == ours
    assert [name for name in made if name in theirs] == theirs
    assert united(made, theirs) == made == united(made, made)


class Found(NamedTuple):
    """A segment as far as the rule goes: the stamp of each item's row, and what it holds."""

    stamps: dict[str, int]
    holding: Holding


class Places:
    """Three stores without files; `shown` is what the rule lets a reader see, `known` what it must be."""

    def __init__(self):
        self.found: dict[SegmentEntry, Found] = {}
        self.lists = dict.fromkeys("abr", ())
        self.known = {place: {} for place in "abr"}

    def shown(self, place):
        rows = [row for listed in self.lists[place] for row in self.found[listed].stamps.items()]
        return {item: max(stamp for other, stamp in rows if other == item) for item, _ in rows}

    def write(self, place, items, ahead):
        """Write items with a clock that is so far ahead of what the place knows; stamps of two places differ."""
        newest = max((self.found[listed].holding.stamp for listed in self.lists[place]), default=0)
        stamp = (newest // 3 + ahead) * 3 + "abr".index(place)
        name = self._add(
            dict.fromkeys(items, stamp), Holding(frozenset({f"s{len(self.found)}"}), stamp=stamp)
        )
        assert all(stamp > self.known[place].get(item, 0) for item in items)
        self.lists[place] += (name,)
        self.known[place] |= dict.fromkeys(items, stamp)

    def compact(self, place):
        gathered = Holding(frozenset())
        for listed in self.lists[place]:
            gathered |= self.found[listed].holding
        if len(self.lists[place]) > 1:
            self.lists[place] = (self._add(self.shown(place), gathered),)

    def bring(self, source, target):
        self.lists[target] = unite(
            self.lists[target], self.lists[source], lambda listed: self.found[listed].holding
        )
        for item, stamp in self.known[source].items():
            self.known[target][item] = max(stamp, self.known[target].get(item, 0))

    def rescue(self, place, which, lost):
        """Lose some items of one segment; older rows, if any, show until the lost ones are brought back."""
        if not self.lists[place]:
            return
        wreck = self.lists[place][which % len(self.lists[place])]
        saved = {
            item: stamp for item, stamp in self.found[wreck].stamps.items() if item not in lost
        }
        held = self.found[wreck].holding
        name = self._add(saved, Holding(frozenset({f"s{len(self.found)}"}), held.every, held.stamp))
        self.lists[place] = tuple(
            name if listed == wreck else listed for listed in self.lists[place]
        )
        shown = self.shown(place)
        self.known[place] = {item: shown[item] for item in self.known[place] if item in shown}

    def _add(self, stamps, holding):
        name = entry(f"s{len(self.found)}")
        self.found[name] = Found(stamps, holding)
        return name


PLACES = st.sampled_from("abr")
ITEMS = st.sets(st.sampled_from("uvwx"), min_size=1)
STEPS = st.one_of(
    st.tuples(st.just("write"), PLACES, ITEMS, st.integers(1, 3)),
    st.tuples(st.just("compact"), PLACES),
    st.tuples(st.just("bring"), PLACES, PLACES),
    st.tuples(st.just("rescue"), PLACES, st.integers(0, 5), ITEMS),
)


@settings(deadline=None, max_examples=of_full(500, 167))
@given(st.lists(STEPS, max_size=40))
def test_the_row_written_last_wins_at_every_place_whatever_the_order(steps):
    places = Places()
    for step, *arguments in steps:
        getattr(places, step)(*arguments)
        assert {place: places.shown(place) for place in "abr"} == places.known
    lists = []
    for _ in range(3):
        for source, target in ("ar", "br", "ra", "rb"):
            places.bring(source, target)
        assert places.shown("a") == places.shown("b") == places.shown("r") == places.known["r"]
        lists.append(dict(places.lists))
    assert (
        lists[1] == lists[2]
    )  # the second round may move a compaction of what was rescued, see `unite`
