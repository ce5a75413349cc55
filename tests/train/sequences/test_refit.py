"""What a refit trains on: all that is kept, each step from an item to the next once."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossan.common.split import LEAVE_LAST_OUT, Split
from crossan.train.sequences.padding import PADDING
from crossan.train.sequences.refit import RefitSequences, is_trained, refit_split
from support.interactions import kept_of

LONG = [list(range(12)), [3, 1, 4, 1, 5], [7, 2, 9]]


@pytest.mark.parametrize("split", [LEAVE_LAST_OUT, Split("mmrec-random", 1)])
def test_all_is_every_kept_item_and_validation_all_but_the_test_items(split):
    kept = kept_of(LONG, split)
    everything = RefitSequences.of(kept, "all")
    assert [items.tolist() for items in everything.training_parts()] == [
        kept.sequence(user).tolist() for user in range(3)
    ]
    assert everything.training_items.tolist() == kept.items.tolist()
    seen = kept.without_test()
    some = RefitSequences.of(kept, "validation")
    assert [items.tolist() for items in some.training_parts()] == [
        seen.sequence(user).tolist() for user in range(3)
    ]
    assert is_trained(kept, "none").tolist() == (kept.parts == 0).tolist()


def transitions(rows):
    return Counter(step for row in rows for step in pairwise(row))


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=13), min_size=1, max_size=4),
    st.integers(1, 12),
)
def test_every_step_from_an_item_to_the_next_is_in_one_row(sequences, input_length):
    kept = kept_of(sequences)
    rows = refit_split(RefitSequences.of(kept, "all"), input_length).sequences.tolist()
    rows = [[item for item in row if item != PADDING] for row in rows]
    whole = [kept.sequence(user).tolist() for user in range(len(kept.user_ids))]
    assert transitions(rows) == transitions(whole)
    assert max(map(len, rows)) <= input_length + 1


def test_a_sequence_that_fits_is_one_row_padded_on_the_left():
    rows = refit_split(RefitSequences.of(kept_of([[0, 1, 2]]), "all"), 4).sequences
    assert rows.tolist() == [[PADDING, PADDING, 0, 1, 2]]


def test_what_does_not_fit_comes_in_a_row_before():
    rows = refit_split(RefitSequences.of(kept_of([list(range(13))]), "all"), 10).sequences
    # Eleven items fit. The two before them are predicted, too, but for the first one.
    assert rows[0].tolist() == list(range(2, 13))
    assert rows[1].tolist() == [PADDING] * 8 + [0, 1, 2]
    assert tuple(rows.shape) == (2, 11)
