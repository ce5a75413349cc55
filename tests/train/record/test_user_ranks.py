"""The recorded ranks of every user: hand-worked figures, a slow twin, and damaged files."""

import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossan.cache_schema.errors import StoreIntegrityError, UsageError
from crossan.train.record.user_ranks import UserRanks, read_user_ranks

FAR = 2**53


def user_ranks(lists):
    lengths = [len(ranks) for ranks in lists]
    flat = np.concatenate([np.array(ranks, np.int64) for ranks in lists])
    return UserRanks(
        user_ids=np.array([f"u{n}" for n in range(len(lists))]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        ranks=flat,
        is_cold=np.zeros(len(flat), bool),
        training_counts=flat,
        popularity_deciles=flat,
        history_lengths=np.array(lengths),
    )


def columns(part, ranks):
    """Return the columns of a part as runs write them, plain or lists as the ranks are."""
    return {
        f"{part}_rank": ranks,
        f"{part}_is_cold": [[True] * len(r) for r in ranks] if is_nested(ranks) else [True, False],
        f"{part}_training_count": ranks,
        f"{part}_popularity_decile": ranks,
        f"{part}_history_length": [3, 4],
    }


def is_nested(ranks):
    return isinstance(ranks[0], list)


def write(run, table):
    (run / "eval").mkdir(exist_ok=True)
    pq.write_table(pa.table(table), run / "eval/per_user.parquet")


def test_figures_by_hand():
    ranks = user_ranks([[1], [3, 11, FAR], [2, 1]])
    assert ranks.hits(10).tolist() == [1, 1 / 3, 1]
    assert ranks.hits(1).tolist() == [1, 0, 1 / 2]
    second, third = 1 / math.log2(3), 1 / math.log2(4)
    # Ideal are ranks 1, 2 and 3; of these a cut-off of 2 has room for two.
    assert ranks.ndcg(10).tolist() == pytest.approx([1, third / (1 + second + third), 1])
    assert ranks.ndcg(2).tolist() == pytest.approx([1, 0, 1])


@given(
    st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=7), min_size=1, max_size=6),
    st.sampled_from([1, 2, 5, 10, 50]),
)
def test_a_loop_agrees(lists, k):
    hits, ndcg = [], []
    for ranks in lists:
        within = [rank for rank in ranks if rank <= k]
        hits.append(len(within) / len(ranks))
        ideal = sum(1 / math.log2(place + 1) for place in range(1, min(len(ranks), k) + 1))
        ndcg.append(sum(1 / math.log2(rank + 1) for rank in within) / ideal)
    assert user_ranks(lists).hits(k).tolist() == pytest.approx(hits)
    assert user_ranks(lists).ndcg(k).tolist() == pytest.approx(ndcg)


@pytest.mark.parametrize(
    ("ranks", "offsets", "flat"),
    [([5, FAR], [0, 1, 2], [5, FAR]), ([[5, 2], [FAR]], [0, 2, 3], [5, 2, FAR])],
)
@pytest.mark.parametrize("part", ["valid", "test"])
def test_plain_columns_and_lists_are_read_alike(tmp_path, part, ranks, offsets, flat):
    write(tmp_path, {"user_id": ["a", "b"], **columns(part, ranks)})
    read = read_user_ranks(tmp_path, part)
    assert read.user_ids.tolist() == ["a", "b"]
    assert (read.offsets.tolist(), read.ranks.tolist()) == (offsets, flat)
    assert read.is_cold.dtype == bool
    assert len(read.is_cold) == len(flat)
    assert (read.training_counts.tolist(), read.popularity_deciles.tolist()) == (flat, flat)
    assert read.history_lengths.tolist() == [3, 4]


def test_a_user_without_a_target_is_not_among_the_ranked(tmp_path):
    names = ["rank", "is_cold", "training_count", "popularity_decile"]
    lists = dict(zip(names, ([5, 2], [True, False], [5, 2], [5, 2]), strict=True))
    table = {f"test_{name}": [[], values[:1], [], values[1:]] for name, values in lists.items()}
    lengths = {"test_history_length": [1, 2, 3, 4]}
    write(tmp_path, {"user_id": ["a", "b", "c", "d"], **table, **lengths})
    read = read_user_ranks(tmp_path, "test")
    assert read.user_ids.tolist() == ["b", "d"]
    assert (read.offsets.tolist(), read.ranks.tolist()) == ([0, 1, 2], [5, 2])
    assert read.history_lengths.tolist() == [2, 4]
    assert read.hits(3).tolist() == [0, 1]


def test_a_run_without_ranks_and_an_older_one(tmp_path):
    with pytest.raises(UsageError, match="expected the ranks of a finished run") as error:
        read_user_ranks(tmp_path, "test")
    assert error.value.remedy is None
    older = {"user_id": ["a", "b"], "valid_rank": [1, 2], **columns("test", [5, 6])}
    write(tmp_path, older)
    assert read_user_ranks(tmp_path, "test").ranks.tolist() == [5, 6]
    with pytest.raises(UsageError, match="validation ranks alone") as error:
        read_user_ranks(tmp_path, "valid")
    assert error.value.remedy.endswith(f"--out {tmp_path} --resume")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_rank": [1, 0]}, "ranks of 1 and more, found 0"),
        ({"test_rank": [1, None]}, "1 nulls"),
        ({"test_rank": [1.0, 2.0]}, "found double"),
        ({"test_rank": [[1], []]}, "test_is_cold for each target"),
        ({"test_rank": [[1, 2], [3]]}, "test_is_cold for each target"),
        ({"test_rank": [[1], None]}, "no null in test_rank"),
        ({"user_id": ["b", "a"]}, "each user id once, in order"),
        ({"user_id": ["a", "a"]}, "each user id once, in order"),
        ({"user_id": ["a", "x" * 1025]}, "at most, found 1,025"),
        ({"user_id": [1, 2]}, "a user id in every row"),
        ({"user_id": ["a", None]}, "a user id in every row"),
    ],
)
def test_what_is_no_table_of_ranks_is_refused(tmp_path, change, message):
    write(tmp_path, {"user_id": ["a", "b"], **columns("test", [5, 6]), **change})
    with pytest.raises(StoreIntegrityError, match=message):
        read_user_ranks(tmp_path, "test")


def test_damaged_files_are_refused(tmp_path):
    write(tmp_path, {"user_id": ["a", "b"], "other": [1, 2]})
    with pytest.raises(StoreIntegrityError, match="expected the column test_rank"):
        read_user_ranks(tmp_path, "test")
    (tmp_path / "eval/per_user.parquet").write_bytes(b"PAR1 and nothing")
    with pytest.raises(StoreIntegrityError, match="expected the ranks of every user"):
        read_user_ranks(tmp_path, "test")
