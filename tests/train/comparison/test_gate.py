"""Which models the gate holds back, by hand where that is possible."""

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer

from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError, UsageError
from crossan.train.comparison.gate import Rule, judge_runs
from crossan.train.comparison.gate_command import gate
from support.commands import attempt
from support.finished_runs import metrics_of, write_run, write_sweep

MISS = 1000


def judged(candidate, production, **rule):
    return judge_runs(candidate, production, Rule(**rule))


def shuffled(count, shares, seed=0):
    """Return so many ranks of which each has its share, in an order of their own."""
    ranks = [rank for rank, share in shares.items() for _ in range(round(share * count))]
    return np.random.default_rng(seed).permutation(ranks).tolist()


def name_targets(run, items):
    """Record which item the test target of each user is."""
    path = run / "eval/per_user.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column("test_item_id", pa.array(items, pa.string())), path)


def test_the_same_model_passes_and_its_difference_is_nought(tmp_path):
    ranks = shuffled(400, {1: 0.2, 5: 0.3, MISS: 0.5})
    runs = [write_run(tmp_path / name, ranks) for name in "ab"]
    verdict = judged(*runs)
    assert (verdict.holds, verdict.reasons) == (True, ())
    assert (verdict.everyone.difference, verdict.everyone.interval) == (0, (0, 0))
    assert verdict.everyone.is_shown
    assert verdict.cold.users == 200


def test_differences_by_hand(tmp_path):
    # Users 0 and 2 are cold. NDCG@10 by rank: 1 gives 1, 3 gives 1/2, 7 gives 1/3.
    candidate = write_run(tmp_path / "a", [3, 1, 7, MISS])
    production = write_run(tmp_path / "b", [1, 3, 7, MISS])
    verdict = judged(candidate, production)
    assert verdict.everyone.candidate == pytest.approx((1 / 2 + 1 + 1 / 3) / 4)
    assert verdict.everyone.difference == 0
    assert verdict.cold.candidate == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert verdict.cold.difference == pytest.approx(-1 / 4)


@pytest.mark.parametrize(("margin", "holds"), [(0.0999, False), (0.1001, True)])
def test_the_estimate_may_be_lower_by_the_margin_and_no_more(tmp_path, margin, holds):
    # 100 of 1,000 users fall from rank 1 to a miss: the mean falls by 0.1. None of them is cold.
    production = [1] * 1000
    candidate = [MISS if user % 10 == 1 else 1 for user in range(1000)]
    runs = [write_run(tmp_path / "a", candidate), write_run(tmp_path / "b", production)]
    verdict = judged(*runs, margin=margin)
    assert verdict.everyone.difference == pytest.approx(-0.1)
    assert verdict.holds == holds
    if not holds:
        assert "worse by more than the margin of 0.0999" in verdict.reasons[0]


@pytest.mark.parametrize(("count", "is_shown"), [(50, False), (20_000, True)])
def test_a_few_users_pass_without_proof_and_many_with(tmp_path, count, is_shown):
    """The mean is the same, and of few users the interval is wide."""
    shares = {1: 0.2, 2: 0.2, 5: 0.2, MISS: 0.4}
    users = [f"u{number:05d}" for number in range(count)]
    runs = [
        write_run(tmp_path / str(seed), shuffled(count, shares, seed), users=users)
        for seed in range(2)
    ]
    verdict = judged(*runs, margin=0.02, cold_margin=1)
    assert verdict.everyone.difference == pytest.approx(0, abs=1e-9)
    assert verdict.holds
    assert verdict.everyone.is_shown == is_shown


def test_a_model_that_has_gone_blind_to_new_items_is_held_back(tmp_path):
    """However well it ranks the others, and however few the cold targets are."""
    # Every second user is cold; of the 20 cold users production finds the target of one.
    production = [10 if user == 0 else (MISS if user % 2 == 0 else 5) for user in range(40)]
    candidate = [MISS if user % 2 == 0 else 1 for user in range(40)]
    runs = [write_run(tmp_path / "a", candidate), write_run(tmp_path / "b", production)]
    verdict = judged(*runs, cold_margin=0.5)
    assert verdict.everyone.difference > 0.29
    assert not verdict.holds
    assert verdict.reasons[0].startswith("cold-blind: none of the cold targets of 20 users")
    # The other way round, a model that finds one where production finds none.
    assert judged(runs[1], runs[0], margin=1).holds


def test_cold_targets_that_are_surely_worse_hold_back_and_a_few_that_may_be_chance_do_not(tmp_path):
    few = [3 if user == 0 else 2 for user in range(20)]
    production = write_run(tmp_path / "few-p", [2] * 20)
    verdict = judged(write_run(tmp_path / "few-c", few), production, margin=1)
    assert verdict.cold.difference < -0.005
    assert verdict.cold.interval[1] == 0
    assert verdict.holds
    many = [3 if user % 4 == 0 else 2 for user in range(400)]
    production = write_run(tmp_path / "many-p", [2] * 400)
    verdict = judged(write_run(tmp_path / "many-c", many), production, margin=1)
    assert not verdict.holds
    assert "NDCG@10 of cold targets" in verdict.reasons[0]
    assert judged(tmp_path / "many-c", production, margin=1, cold_margin=0.2).holds


@pytest.mark.parametrize("whose", ["candidate", "production"])
def test_nan_anywhere_holds_back(tmp_path, whose):
    runs = {name: write_run(tmp_path / name, [1, 2, 3]) for name in ("candidate", "production")}
    result = runs[whose] / "result.json"
    figures = json.loads(result.read_text())
    figures["cold_test"]["ndcg@10"] = math.nan
    result.write_text(json.dumps(figures))
    verdict = judged(runs["candidate"], runs["production"])
    assert verdict.reasons == (f"the figures of the {whose} are NaN",)
    assert not verdict.holds


def test_figures_that_the_ranks_do_not_give_are_refused(tmp_path):
    runs = [write_run(tmp_path / "a", [1, 2]), write_run(tmp_path / "b", [1, 2])]
    result = runs[0] / "result.json"
    figures = json.loads(result.read_text())
    figures["test"] = metrics_of([1, 1])
    result.write_text(json.dumps(figures))
    with pytest.raises(StoreIntegrityError, match="expected test ndcg@10 1.0"):
        judged(*runs)


def test_users_that_only_one_ranked_are_left_out(tmp_path):
    # Both ranked c and d, d by another target; the data of the candidate have grown.
    candidate = write_run(
        tmp_path / "a", [MISS, 1, 3, 1], users=list("bcde"), sequences="c" * 64, items=50
    )
    production = write_run(tmp_path / "b", [1, 3, 3], users=list("acd"))
    name_targets(candidate, ["w", "x", "y", "z"])
    name_targets(production, ["v", "x", "w"])
    verdict = judged(candidate, production)
    assert verdict.left_out == (3, 2)
    assert verdict.everyone.users == 1
    assert (verdict.everyone.candidate, verdict.everyone.production) == (1, 0.5)


def test_other_data_without_recorded_targets_cannot_be_compared(tmp_path):
    candidate = write_run(tmp_path / "a", [1, 2], sequences="c" * 64)
    production = write_run(tmp_path / "b", [1, 2])
    with pytest.raises(IncompatibleError, match="expected the item of every target") as refused:
        judged(candidate, production)
    assert refused.value.remedy.startswith("Rank today's targets by production: crossan evaluate")
    name_targets(candidate, ["x", "y"])
    name_targets(production, ["y", "x"])
    with pytest.raises(IncompatibleError, match="expected users that both ranked by the same"):
        judged(candidate, production)


@pytest.mark.parametrize(
    "more", [{"split": "mmrec-random", "split_seed": 1}, {"mask_history": "none"}]
)
def test_another_split_or_mask_cannot_be_compared(tmp_path, more):
    candidate = write_run(tmp_path / "a", [1, 2], sequences="c" * 64, **more)
    production = write_run(tmp_path / "b", [1, 2])
    with pytest.raises(IncompatibleError, match="not evaluated under one protocol"):
        judged(candidate, production)


def test_another_catalogue_rule_cannot_be_compared(tmp_path):
    candidate = write_run(tmp_path / "a", [1, 2])
    production = write_run(tmp_path / "b", [1, 2])
    config = candidate / "config.toml"
    config.write_text(config.read_text().replace("min_items = 5", "min_items = 6"))
    with pytest.raises(IncompatibleError, match="expected one catalogue rule, found data.min_it"):
        judged(candidate, production)


def test_a_sweep_of_several_seeds_or_a_run_without_test_is_no_candidate(tmp_path):
    trials = {f"t{seed}": ([1, 2], {"seed": seed}) for seed in range(2)}
    sweep = write_sweep(tmp_path / "sweep", trials, ["t0", "t1"])
    production = write_run(tmp_path / "b", [1, 2])
    with pytest.raises(UsageError, match="found a sweep that has chosen 2 seeds"):
        judged(sweep, production)
    blind = write_run(tmp_path / "a", [1, 2], validation_only=True)
    with pytest.raises(UsageError, match="expected a run with test figures"):
        judged(blind, production)


def test_the_command_says_it_by_its_exit_code(tmp_path):
    better = write_run(tmp_path / "a", [1, 1, 2, 2])
    worse = write_run(tmp_path / "b", [9, 9, 9, 9])
    passed = attempt(gate, better, worse, "--json")
    assert passed.exit_code == 0
    verdict = json.loads(passed.stdout.splitlines()[-1])
    assert (verdict["holds"], verdict["reasons"]) == (True, [])
    assert verdict["all"]["users"] == 4
    assert verdict["left_out"] == {"candidate": 0, "production": 0}
    held = attempt(gate, worse, better, "--margin", "0.01")
    assert held.exit_code == 1
    assert isinstance(held.exception, SystemExit | typer.Exit)
    assert "held back: test NDCG@10" in held.stdout
