"""Runs on so few items that a cut-off reaches all of them."""

import json

import pyarrow.parquet as pq
import pytest

from crossan.train.cli import evaluate
from crossan.train.evaluation.metrics import CUTOFFS, UNREACHABLE
from support.commands import run, train_in
from support.fabricated import write_rows

ITEMS = [f"i0{number}" for number in range(9)]
SETTINGS = ("max_epochs=1", "model.width=4", "batch_size=4")


def write_repeating(folder):
    """Let each of nine users end with the item that they began with."""
    rows = [
        (f"u{user}", ITEMS[(user + step) % 9], time)
        for user in range(9)
        for time, step in enumerate([*range(6), 0])
    ]
    return write_rows(folder, rows, items=ITEMS)


@pytest.mark.parametrize("kind", ["sasrec", "popularity"])
def test_targets_that_are_all_masked_are_no_hits_at_any_cutoff(tmp_path, kind):
    write_repeating(tmp_path / "d")
    trained = train_in(tmp_path, SETTINGS, "--model", kind)
    result = json.loads(trained.stdout)
    assert result["unwinnable_test_targets"] == 9
    assert set(result["test"].values()) == set(result["popularity"]["test"].values()) == {0.0}
    assert result["slices"]["target"]["warm"]["hr@50"] == 0.0
    ranks = pq.read_table(tmp_path / "r/eval/per_user.parquet")
    assert ranks["test_rank"].to_pylist() == [UNREACHABLE] * 9
    # Validation targets are met once: each is ranked, among the four that its user has not had.
    assert max(ranks["valid_rank"].to_pylist()) <= 4
    assert result["valid"]["hr@5"] == 1.0
    # Six different items come before the test target: three are left to rank.
    assert (result["fewest_candidates"], result["cutoffs_reached"]) == (3, list(CUTOFFS))
    assert "cut-offs 5, 10, 20, 50 are not below the 3 items that some" in trained.stderr


def test_what_is_masked_by_choice_only_is_ranked_without(tmp_path):
    write_repeating(tmp_path / "d")
    train_in(tmp_path, SETTINGS, "--model", "popularity")
    evaluated = run(evaluate, tmp_path / "r", "--mask-history", "none", "--json")
    result = json.loads(evaluated.stdout)
    assert result["test"]["hr@10"] == 1.0  # nine items have nine ranks
    assert (result["fewest_candidates"], result["cutoffs_reached"]) == (9, [10, 20, 50])
    assert "cut-offs 10, 20, 50 are not below the 9 items that some" in evaluated.stderr
