"""Random splits: every interaction in one part, by the seed and the data alone."""

import collections
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossan.common.datasets.keeping import keep_sequences
from crossan.common.datasets.protocol import (
    cold_test_targets,
    sequences_digest,
    unwinnable_test_targets,
)
from crossan.common.datasets.splitting import TEST, TRAINING, VALIDATION, _mixed
from crossan.common.split import Split
from support.interactions import make_table


def keep(rows, seed=0, **how):
    return keep_sequences(
        make_table(rows), min_items=3, max_items=13, split=Split("mmrec-random", seed), **how
    )


def parts_of(kept):
    """Return the interactions of each part as counts of user and item."""
    parts = {TRAINING: [], VALIDATION: [], TEST: []}
    for user, name in enumerate(kept.user_ids.tolist()):
        begin, end = kept.offsets[user], kept.offsets[user + 1]
        for item, part in zip(kept.items[begin:end], kept.parts[begin:end], strict=True):
            parts[part].append((name, str(kept.item_ids[item])))
    return {int(part): collections.Counter(rows) for part, rows in parts.items()}


def rows_of(lengths):
    return [
        (f"u{user}", f"i{n:02d}", n) for user, length in enumerate(lengths) for n in range(length)
    ]


@pytest.mark.parametrize(
    ("length", "validation", "test"),
    # Below ten one each; then a fifth, rounded down, of which validation has the smaller half.
    [(3, 1, 1), (9, 1, 1), (10, 1, 1), (14, 1, 1), (15, 1, 2), (20, 2, 2), (29, 2, 3), (50, 5, 5)],
)
def test_how_many_are_held_out(length, validation, test):
    kept = keep(rows_of([length]))
    assert collections.Counter(kept.parts.tolist()) == {
        int(TRAINING): length - validation - test, int(VALIDATION): validation, int(TEST): test,
    }  # fmt: skip
    assert (len(kept.without_test().validation_targets), len(kept.test_targets)) == (
        validation,
        test,
    )


INTERACTIONS = st.lists(
    st.tuples(st.sampled_from("uvw"), st.sampled_from("abcdefgh"), st.integers(0, 9)),
    min_size=1,
    max_size=60,
).filter(lambda rows: max(collections.Counter(user for user, _, _ in rows).values()) >= 3)


@given(INTERACTIONS, st.integers(0, 2**32 - 1), st.randoms())
def test_parts_share_out_all_and_no_order_of_rows_matters(rows, seed, random):
    kept = keep(rows, seed)
    lengths = collections.Counter(user for user, _, _ in rows)
    long = collections.Counter((user, item) for user, item, _ in rows if lengths[user] >= 3)
    assert sum(parts_of(kept).values(), collections.Counter()) == long
    shuffled = list(rows)
    random.shuffle(shuffled)
    again = keep(shuffled, seed)
    assert parts_of(again) == parts_of(kept)
    assert sequences_digest(again) == sequences_digest(kept)
    for user in range(len(kept.user_ids)):
        own = kept.parts[kept.offsets[user] : kept.offsets[user + 1]]
        assert (own == TEST).any()
        assert (own == VALIDATION).any()
        assert (own == TRAINING).any()


@given(INTERACTIONS, st.integers(0, 9))
def test_what_selecting_sees_is_all_but_the_test_part(rows, seed):
    kept = keep(rows, seed)
    seen, parts = kept.without_test(), parts_of(kept)
    assert parts_of(seen) == {**parts, int(TEST): collections.Counter()}
    for user, training in enumerate(seen.training_parts()):
        begin, end = kept.offsets[user], kept.offsets[user + 1]
        is_training = kept.parts[begin:end] == TRAINING
        assert training.tolist() == kept.items[begin:end][is_training].tolist()  # in time order
        assert kept.test_histories()[user].tolist() == training.tolist()
    assert np.concatenate(seen.training_parts()).tolist() == seen.training_items.tolist()
    targets = set(parts[int(TEST)])
    assert len(kept.test_targets) == len(targets)  # an item that is drawn twice is one target
    named = zip(kept.user_ids[kept.test_users], kept.item_ids[kept.test_targets], strict=True)
    assert {(str(user), str(item)) for user, item in named} == targets
    trained = {item for _, item in parts[int(TRAINING)]}
    assert cold_test_targets(kept) == sum(item not in trained for _, item in targets)
    assert unwinnable_test_targets(kept) == len(targets & set(parts[int(TRAINING)]))


def slow_key(seed, user, item, repeat):
    """Return what an interaction is drawn by, in whole numbers."""

    def eight(kind, name):
        return int.from_bytes(sha256(f"{seed} {kind} {name}".encode()).digest()[:8], "little")

    def mix(number):
        number = (number + 0x9E3779B97F4A7C15) % 2**64
        number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        number = (number ^ number >> 27) * 0x94D049BB133111EB % 2**64
        return number ^ number >> 31

    return mix((eight("u", user) + mix((eight("i", item) + repeat) % 2**64)) % 2**64)


@given(INTERACTIONS, st.integers(0, 2**32 - 1))
def test_a_loop_draws_the_same(rows, seed):
    """The draw is promised: any machine and version makes the same of a seed."""
    parts = {0: collections.Counter(), 1: collections.Counter(), 2: collections.Counter()}
    for user in {user for user, _, _ in rows}:
        counts = collections.Counter(item for owner, item, _ in rows if owner == user)
        drawn = [(item, repeat) for item, count in counts.items() for repeat in range(count)]
        if len(drawn) < 3:
            continue
        drawn.sort(key=lambda one: slow_key(seed, user, *one))
        held_out = len(drawn) // 5 if len(drawn) >= 10 else 2
        in_validation = held_out // 2
        for place, (item, _) in enumerate(drawn):
            from_begin = place - (len(drawn) - held_out)
            part = 0 if from_begin < 0 else 1 if from_begin < in_validation else 2
            parts[part][user, item] += 1
    assert parts_of(keep(rows, seed)) == parts


def test_a_known_draw():
    kept = keep([("u", item, time) for time, item in enumerate("abcdef")], seed=7)
    parts = parts_of(kept)
    assert (list(parts[1]), list(parts[2])) == ([("u", "b")], [("u", "e")])


def test_bits_are_mixed_as_splitmix64_mixes_them():
    # The first numbers that its authors' generator gives after the seed 0 and the seed 1234567.
    seeds = np.array([0, 1234567], dtype=np.uint64)
    assert _mixed(seeds).tolist() == [16294208416658607535, 6457827717110365317]


def test_another_seed_draws_others_and_every_place_is_as_likely():
    rows = rows_of([8] * 2_000)
    first, second = (keep(rows, seed) for seed in (0, 1))
    assert sequences_digest(first) != sequences_digest(second)
    for kept in (first, second):
        for part in (VALIDATION, TEST):
            places = np.flatnonzero(kept.parts == part) % 8
            counts = np.bincount(places, minlength=8)
            # 2,000 draws of 8: 250 each, with a deviation of 14.8; the largest of 32 is below 4.5.
            assert np.abs(counts - 250).max() < 4.5 * (2_000 * 1 / 8 * 7 / 8) ** 0.5


def test_more_interactions_leave_old_test_targets_out_of_training_data_of_test():
    """Below 15 interactions a new one never turns a trained item into a test target."""
    rows = rows_of([9] * 200)
    more = [*rows, *((f"u{user}", "new", 99) for user in range(200))]
    before, after = parts_of(keep(rows)), parts_of(keep(more))
    assert not after[int(TEST)] & before[int(TRAINING)]
    assert not after[int(TEST)] & before[int(VALIDATION)]


def test_all_interactions_are_kept_but_those_of_short_users():
    kept = keep_sequences(
        make_table(rows_of([4, 5, 40])), min_items=5, max_items=13,
        split=Split("mmrec-random"),
    )  # fmt: skip
    assert np.diff(kept.offsets).tolist() == [5, 40]
    by_time = keep_sequences(make_table(rows_of([4, 5, 40])), min_items=5, max_items=13)
    assert np.diff(by_time.offsets).tolist() == [5, 13]
    assert sequences_digest(by_time) != sequences_digest(kept)
