"""A refit is served, the run that it is a refit of is judged, and both lie in one version."""

import json
import shutil

import pytest

from crossan.train.cli import evaluate
from crossan.train.comparison.gate import Rule, judge_runs
from crossan.train.record.checkpoint import load_checkpoint
from crossan.train.service.recommender.opening import open_answering
from support.commands import run, train_quickly
from support.fabricated import write_small
from support.registered import a_row


@pytest.mark.slow
def test_a_refit_answers_and_its_run_is_judged(registry, database, tmp_path):
    place = write_small(tmp_path / "small")
    figures = train_quickly(place, "--refit", "all", epochs=2)
    refitted = load_checkpoint(place / "r/refit/checkpoints", "best").sha256
    model = registry.register(place / "r", place / "r/refit", a_row(database), "ann")
    shutil.rmtree(place / "r")
    assert model.card["served"] == {"is_refitted": True, "trained_on": "everything"}
    assert model.card["figures"]["test"] == figures["test"]
    assert load_checkpoint(model.served_run / "checkpoints", "best").sha256 == refitted
    answering = open_answering(model.served_run, "")
    query, _ = answering.query({"user": "u001", "top": 3, "mask_history": "all"})
    assert len(answering.answers([query])[0]) == 3
    # Production judged again on the data of today, as a night does, passes its own gate.
    out = tmp_path / "again"
    told = run(evaluate, model.judged_run, "--out", out, "--device", "cpu", "--json")
    assert json.loads(told.stdout.splitlines()[-1])["test"] == pytest.approx(figures["test"])
    verdict = judge_runs(model.judged_run, out, Rule(margin=0, cold_margin=0))
    assert (verdict.holds, verdict.left_out, verdict.everyone.difference) == (True, (0, 0), 0)
