"""The leave-one-out protocol: hand-worked sequences and invariances."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossan.cache_schema.errors import DataError, UsageError
from crossan.common.datasets.keeping import keep_sequences
from crossan.common.datasets.protocol import cold_test_targets, unwinnable_test_targets
from support.interactions import make_table


def as_dict(kept):
    return {
        str(user): [str(kept.item_ids[row]) for row in kept.sequence(n)]
        for n, user in enumerate(kept.user_ids)
    }


def test_short_users_go_before_long_ones_are_cut():
    rows = [("u", item, time) for time, item in enumerate("abcdef")] + [
        ("v", "z", 0),
        ("v", "y", 1),
    ]
    kept = keep_sequences(make_table(rows), max_items=4, min_items=3)
    assert as_dict(kept) == {"u": ["c", "d", "e", "f"]}
    assert kept.item_ids.tolist() == ["c", "d", "e", "f"]  # a, b, y, z are in no kept sequence
    assert [str(kept.item_ids[row]) for row in kept.training_items] == ["c", "d"]
    assert str(kept.item_ids[kept.test_targets[0]]) == "f"


def test_time_then_item_id_orders_and_file_order_serves_without_time():
    timed = [("u", "c", 2), ("u", "b", 1), ("u", "a", 2)]
    untimed = [("v", "c", None), ("v", "a", None), ("v", "b", None)]
    kept = keep_sequences(make_table(timed + untimed), max_items=3, min_items=3)
    assert as_dict(kept) == {"u": ["b", "a", "c"], "v": ["c", "a", "b"]}


def test_dropped_items_leave_before_users_are_counted():
    rows = [("u", item, time) for time, item in enumerate("abcd")]
    assert as_dict(
        keep_sequences(make_table(rows), max_items=3, min_items=3, drop_items={"b"})
    ) == {"u": ["a", "c", "d"]}


def test_cold_and_unwinnable_targets():
    rows = [
        *[("u", item, time) for time, item in enumerate("abcx")],  # x: in no training part: cold
        *[
            ("v", item, time) for time, item in enumerate("bcab")
        ],  # b: trained, and in its own history
        *[
            ("w", item, time) for time, item in enumerate("axca")
        ],  # x is held out nowhere else; a in its own history
    ]
    kept = keep_sequences(make_table(rows), max_items=4, min_items=4)
    assert cold_test_targets(kept) == 0  # w trains on x
    assert unwinnable_test_targets(kept) == 2
    assert cold_test_targets(keep_sequences(make_table(rows[:8]), max_items=4, min_items=4)) == 1


@given(
    st.lists(
        st.tuples(st.sampled_from("uvw"), st.sampled_from("abcde"), st.integers(0, 5)), min_size=1
    ),
    st.randoms(),
)
def test_the_order_of_rows_does_not_matter_and_a_loop_agrees(rows, random):
    slow = {}
    for user in "uvw":
        own = sorted((time, item) for owner, item, time in rows if owner == user)
        if len(own) >= 3:
            slow[user] = [item for _, item in own[-4:]]
    shuffled = list(rows)
    random.shuffle(shuffled)
    if not slow:
        with pytest.raises(DataError, match="no user has at least 3 interactions"):
            keep_sequences(make_table(shuffled), max_items=4, min_items=3)
        return
    kept = keep_sequences(make_table(shuffled), max_items=4, min_items=3)
    assert as_dict(kept) == slow
    targets = [sequence[-1] for sequence in slow.values()]
    trained = {item for sequence in slow.values() for item in sequence[:-2]}
    assert cold_test_targets(kept) == sum(target not in trained for target in targets)
    assert unwinnable_test_targets(kept) == sum(
        sequence[-1] in sequence[:-1] for sequence in slow.values()
    )


def test_half_timed_users_are_refused():
    with pytest.raises(DataError, match="user u has interactions with and without a timestamp"):
        keep_sequences(
            make_table([("u", "a", 1), ("u", "b", None), ("u", "c", 2)]), max_items=3, min_items=3
        )


@pytest.mark.parametrize(("max_items", "min_items"), [(13, 2), (4, 5)])
def test_limits_are_checked(max_items, min_items):
    with pytest.raises(UsageError, match="3 <= --min-items <= --max-items"):
        keep_sequences(make_table([("u", "a", 1)]), max_items=max_items, min_items=min_items)
