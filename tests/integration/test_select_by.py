"""Which validation figure chooses the best epoch."""

import json

import pytest

from crossan.train.evaluation.metrics import selection_figure
from support.commands import train_quickly
from support.fabricated import write_small


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_small(tmp_path_factory.mktemp("select"))


def test_recall_is_rounded_as_in_mmrecs_code():
    valid = {"hr@10": 0.123456, "hr@20": 0.234567}
    assert selection_figure(valid, "hr@10") == 0.123456
    assert selection_figure(valid, "recall@20") == 0.2346


@pytest.mark.parametrize("select_by", ["hr@10", "recall@20"])
def test_the_first_of_the_highest_epochs_is_the_best(place, select_by):
    out = f"by-{select_by}"
    more = ("--model", "sasrec", "--set", f"select_by={select_by}")
    result = train_quickly(place, *more, out=out, epochs=8)
    lines = (place / out / "metrics.jsonl").read_text().splitlines()
    figures = [selection_figure(json.loads(line)["valid"], select_by) for line in lines]
    assert result["best_epoch"] == figures.index(max(figures)) + 1
