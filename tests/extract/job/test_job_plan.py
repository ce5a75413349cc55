"""The batch plan is a pure function of the item list; shards partition it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossan.cache_schema.errors import UsageError
from crossan.common.contents.media_list import Medium
from crossan.extract.job.plan import Shard, plan_batches


def _ids(batches):
    return [[medium.item_id for medium in batch] for batch in batches]


def _file(item_id):
    return Medium(item_id, path=Path("/media") / item_id)


def test_files_are_batched_by_item_id_and_absent_items_come_last():
    media = [_file("c"), Medium("b"), _file("a"), _file("d"), Medium("e")]
    assert _ids(plan_batches(media, 2)) == [["a", "c"], ["d"], ["b", "e"]]


def test_titles_are_batched_by_token_length_then_item_id():
    media = [Medium("a", "one two three"), Medium("b", "one"), Medium("c"), Medium("d", "two")]
    assert _ids(plan_batches(media, 2, lambda title: len(title.split()))) == [
        ["b", "d"],
        ["a"],
        ["c"],
    ]


titled = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=4),
    st.one_of(st.none(), st.text("xy ", min_size=1)),
    max_size=25,
).map(lambda titles: [Medium(item_id, title) for item_id, title in titles.items()])


@given(titled, st.integers(1, 7), st.randoms(use_true_random=False))
def test_the_order_of_the_items_does_not_matter(media, batch_size, random):
    shuffled = list(media)
    random.shuffle(shuffled)
    assert plan_batches(shuffled, batch_size, len) == plan_batches(media, batch_size, len)


@given(titled, st.integers(1, 7), st.integers(1, 5))
def test_shards_hold_every_batch_of_the_plan_once(media, batch_size, shard_count):
    plan = plan_batches(media, batch_size, len)
    taken = [
        batch
        for number in range(1, shard_count + 1)
        for batch in Shard(number, shard_count).take(plan)
    ]
    assert sorted(_ids(taken)) == sorted(_ids(plan))
    assert sorted(item_id for batch in _ids(plan) for item_id in batch) == sorted(
        medium.item_id for medium in media
    )


def test_a_shard_takes_every_nth_batch():
    plan = plan_batches([_file(item_id) for item_id in "abcdefg"], 1)
    assert _ids(Shard.parse("2/3").take(plan)) == [["b"], ["e"]]


@pytest.mark.parametrize(
    "text", ["0/3", "4/3", "3", "3/", "-1/3", "1/0", "a/b", "1/3 ", "", "１/３"]
)
def test_a_bad_shard_is_named(text):
    with pytest.raises(UsageError, match=r"--shard .*: expected i/n with 1 <= i <= n"):
        Shard.parse(text)


def test_a_shard_prints_as_it_is_read():
    assert str(Shard.parse("3/16")) == "3/16"
