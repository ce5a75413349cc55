"""The cold validation targets stand beside all wherever a validation is written or printed."""

import json
import shutil

import pytest

from crossan.train.cli import evaluate, train
from crossan.train.comparison.cli import compare
from crossan.train.record.user_ranks import read_user_ranks
from support.commands import run, train_quickly
from support.fabricated import write_rows, write_small
from support.hybrids import make_hybrid, sequences

KINDS = ("crossan", "sasrec", "vbpr", "markov", "hybrid-of-runs")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Runs of each way to be trained, on data whose validation has targets of no training part."""
    place = write_small(tmp_path_factory.mktemp("cold"))
    shutil.rmtree(place / "d")
    write_rows(place / "d", sequences())
    for kind in KINDS[:-1]:
        train_quickly(place, "--model", kind, out=kind, epochs=2)
    make_hybrid(place, "sasrec", "crossan", out="hybrid-of-runs")
    return place


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", KINDS)
def test_the_line_of_the_best_epoch_has_what_the_result_has(place, kind):
    result = json.loads((place / kind / "result.json").read_text())
    cold = lines_of(place / kind)[result["best_epoch"] - 1]["cold_valid"]
    assert cold == pytest.approx(result["cold_valid"])
    ranks = read_user_ranks(place / kind, "valid")
    of_cold = ranks.ranks[ranks.is_cold]
    assert cold["targets"] == len(of_cold) > 0
    assert cold["hr@10"] == pytest.approx((of_cold <= 10).mean())


@pytest.mark.parametrize("kind", ["sasrec", "markov"])
def test_a_run_that_has_not_seen_its_test_targets_has_it_too(place, kind):
    out = place / f"{kind}-blind"
    shown = train_quickly(place, "--model", kind, "--validation-only", out=out.name, epochs=2)
    finished = json.loads((place / kind / "result.json").read_text())
    assert shown["cold_valid"] == pytest.approx(finished["cold_valid"])
    assert json.loads((out / "validation.json").read_text())["cold_valid"] == shown["cold_valid"]
    said = run(
        train, "--dataset", place / "d", "--cache", place / "c", "--out", out, "--resume",
        "--config", out / "config.toml", "--validation-only", "--device", "cpu",
    ).stdout  # fmt: skip
    figures = shown["cold_valid"]
    assert f"cold valid targets: {figures['targets']}, HR@10 {figures['hr@10']:.4f}" in said


def test_comparing_runs_that_have_not_seen_their_test_targets_shows_it(place):
    for kind in ("sasrec", "markov"):
        if not (place / f"{kind}-blind").exists():
            train_quickly(
                place, "--model", kind, "--validation-only", out=f"{kind}-blind", epochs=2
            )
    folders = [place / "sasrec-blind", place / "markov-blind"]
    compared = json.loads(run(compare, *folders, "--json").stdout)
    assert compared["compared_on"] == "valid"
    for row, folder in zip(compared["rows"], folders, strict=True):
        cold = json.loads((folder / "validation.json").read_text())["cold_valid"]
        assert compared["cold_targets"] == cold["targets"]
        assert row["cold"]["hr@10"]["mean"] == pytest.approx(cold["hr@10"])
    assert "cold HR@10" in run(compare, *folders).stdout


def test_evaluating_prints_both_parts(place):
    said = run(evaluate, place / "sasrec", "--device", "cpu").stdout
    for part in ("valid", "test"):
        assert f"cold {part} targets: " in said
