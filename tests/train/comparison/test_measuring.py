"""Means, spreads and differences of rows, by hand where that is possible."""

import math

import numpy as np
import pytest

from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError, UsageError
from crossan.train.comparison.measuring import compare_rows
from crossan.train.comparison.rows import baseline_of, rows_of
from crossan.train.comparison.statistics import holm, paired
from support.finished_runs import write_ranks, write_run


def compared(*runs, part="test", baseline=None, **options):
    rows = rows_of([str(run) for run in runs])
    return compare_rows(rows, part, baseline_of(rows, baseline), **options)


def cells(comparison, name):
    return next(row.cells for row in comparison.rows if row.row.name == name)


def test_mean_and_deviation_over_seeds_by_hand(tmp_path):
    # HR@10 of the seeds: 2 of 4, 3 of 4. Mean 0.625, deviation 0.25 / sqrt(2).
    first = write_run(tmp_path / "ours-0", [1, 11, 25, 3], seed=0)
    second = write_run(tmp_path / "ours-1", [1, 10, 25, 3], seed=1)
    spread = cells(compared(first, second), "ours")["hr@10"].spread
    assert spread.mean == pytest.approx(0.625)
    assert spread.sd == pytest.approx(0.25 / math.sqrt(2))


def test_users_are_compared_by_their_mean_over_the_seeds(tmp_path):
    # HR@10 of the users: ours 1, 1/2, 0, 1; base 0, 0, 0, 1. Differences 1, 1/2, 0, 0.
    runs = [
        write_run(tmp_path / "ours-0", [1, 11, 25, 3], seed=0),
        write_run(tmp_path / "ours-1", [1, 10, 25, 3], seed=1),
        write_run(tmp_path / "base", [30, 11, 25, 3], lr=0.5),
    ]
    comparison = compared(*runs, baseline="base")
    found = cells(comparison, "ours")["hr@10"].difference.paired
    wanted = paired(np.array([1, 0.5, 0, 0]), np.zeros(4))
    assert found == wanted
    assert found.difference == pytest.approx(0.375)
    assert cells(comparison, "base")["hr@10"].difference is None


def test_ndcg_of_users_by_hand(tmp_path):
    # Ranks 3 and 1 give 1 / log2(4) and 1: against misses the mean difference is 0.75.
    runs = [write_run(tmp_path / "a", [30, 30]), write_run(tmp_path / "b", [3, 1], lr=0.5)]
    difference = cells(compared(*runs), "b")["ndcg@10"].difference.paired
    assert difference.difference == pytest.approx(0.75)


def test_p_values_are_adjusted_for_the_rows_and_for_each_metric_by_itself(tmp_path):
    random = np.random.default_rng(0)
    runs = [
        write_run(tmp_path / name, random.integers(1, top, 60).tolist(), lr=lr)
        for lr, (name, top) in enumerate({"base": 60, "a": 40, "b": 30, "c": 50}.items(), 1)
    ]
    comparison = compared(*runs)
    for metric in ("hr@10", "ndcg@20"):
        found = [cells(comparison, name)[metric].difference for name in "abc"]
        assert [one.t_p_holm for one in found] == holm([one.paired.t_p for one in found])
        assert [one.wilcoxon_p_holm for one in found] == holm(
            [one.paired.wilcoxon_p for one in found]
        )


def test_the_best_is_marked_and_starred_where_it_beats_the_best_of_the_others(tmp_path):
    # 40 users: the best hits all at rank 1, the second half of them, the third none.
    runs = [
        write_run(tmp_path / "third", [30] * 40, lr=1),
        write_run(tmp_path / "best", [1] * 40, lr=2),
        write_run(tmp_path / "second", [1, 30] * 20, lr=3),
    ]
    comparison = compared(*runs)
    marks = {
        row.row.name: (row.cells["hr@10"].is_best, row.cells["hr@10"].is_significant)
        for row in comparison.rows
    }
    assert marks == {"third": (False, False), "best": (True, True), "second": (False, False)}


def test_a_best_that_may_be_chance_has_no_star(tmp_path):
    # One user of 40 more: t is 1.
    runs = [
        write_run(tmp_path / "a", [1] * 20 + [30] * 20),
        write_run(tmp_path / "b", [1] * 21 + [30] * 19, lr=0.5),
    ]
    best = cells(compared(*runs), "b")["hr@10"]
    assert (best.is_best, best.is_significant) == (True, False)


def test_equal_rows_are_both_best_and_a_row_alone_is_not(tmp_path):
    runs = [write_run(tmp_path / name, [1, 30], lr=lr) for lr, name in enumerate("ab", 1)]
    assert all(row.cells["hr@10"].is_best for row in compared(*runs).rows)
    assert not any(row.cells["hr@10"].is_significant for row in compared(*runs).rows)
    assert not compared(runs[0]).rows[0].cells["hr@10"].is_best


def test_shares_of_cold_and_unwinnable_targets_come_with_the_figures(tmp_path):
    # Users 0 and 2 have cold targets, at ranks 1 and 25: HR@10 1/2, NDCG@10 1/2.
    comparison = compared(write_run(tmp_path / "a", [1, 11, 25, 3]))
    assert (comparison.cold_targets, comparison.unwinnable_targets) == (2, 1)
    assert comparison.targets == 4
    cold = comparison.rows[0].cold
    assert {name: spread.mean for name, spread in cold.items()} == {"hr@10": 0.5, "ndcg@10": 0.5}


def test_on_validation_test_figures_are_nowhere(tmp_path):
    run = write_run(tmp_path / "a", [1, 11], valid_ranks=[30, 2])
    comparison = compared(run, part="valid")
    row = comparison.rows[0]
    assert row.cells["hr@10"].spread.mean == 0.5
    assert row.cold is None
    assert comparison.unwinnable_targets is None


def test_without_ranks_there_are_figures_and_no_tests(tmp_path):
    runs = [
        write_run(tmp_path / "a", [1, 11]),
        write_run(tmp_path / "b", [1, 2], lr=0.5, validation_only=True),
    ]
    comparison = compared(*runs, part="valid", notes=["why"])
    assert comparison.notes == (
        "why",
        "no test of differences: the ranks of single users are not recorded by b",
    )
    b = cells(comparison, "b")["hr@10"]
    assert (b.spread.mean, b.is_best, b.interval, b.difference) == (1.0, True, None, None)


def test_the_seed_of_intervals_and_their_level_are_as_asked(tmp_path):
    run = write_run(tmp_path / "a", [1, 11, 30, 4, 12, 9, 40, 2])
    intervals = [
        cells(compared(run, **options), "a")["ndcg@10"].interval
        for options in ({}, {"seed": 0}, {"seed": 1}, {"level": 0.5})
    ]
    assert intervals[0] == intervals[1] != intervals[2]
    assert intervals[3][0] > intervals[0][0]


def test_runs_of_other_protocols_are_refused_by_name(tmp_path):
    runs = [
        write_run(tmp_path / "a", [1, 11]),
        write_run(tmp_path / "b", [1, 11], lr=0.5, split="mmrec-random", split_seed=3),
    ]
    with pytest.raises(IncompatibleError, match=r"a and .*b were not .*\n  split: leave-last-out"):
        compared(*runs)


def test_runs_of_other_users_are_refused_where_older_ones_have_no_digest(tmp_path):
    runs = [
        write_run(tmp_path / "a", [1, 11], users=["u1", "u2"], sequences=None),
        write_run(tmp_path / "b", [1, 11], users=["u1", "u3"], sequences=None, lr=0.5),
    ]
    with pytest.raises(IncompatibleError, match="rank different users: 1 of .*, first: u2"):
        compared(*runs)


def test_ranks_that_are_not_those_of_the_figures_are_refused(tmp_path):
    run = write_run(tmp_path / "a", [1, 11])
    write_ranks(run, ["u000", "u001"], [1, 2], [1, 11], [True, False])
    with pytest.raises(
        StoreIntegrityError, match=r"per_user.parquet: expected test hr@10 0.500000"
    ):
        compared(run)


def test_ranks_of_an_older_run_are_refused_on_validation_and_serve_on_test(tmp_path):
    import pyarrow.parquet as pq

    run = write_run(tmp_path / "a", [1, 11])
    path = run / "eval/per_user.parquet"
    table = pq.read_table(path)
    older = [name for name in table.column_names if not name.startswith("valid_")]
    pq.write_table(table.select([*older, "valid_rank"]), path)
    assert compared(run).cold_targets == 1
    with pytest.raises(UsageError, match="validation ranks alone"):
        compared(run, part="valid")
