"""What the steps of a night came to, in words."""

from dataclasses import replace

import pytest

from crossan.train.service.queue.rows import Step
from crossan.train.service.web.pages.outcomes import outcome_of
from support.dashboard import run_row


@pytest.mark.parametrize(
    ("step", "result", "words"),
    [
        ("update", {"added": {"items": 10, "interactions": 1500, "users": 3}}, "+10 items, +1,500 interactions"),
        ("update", {"added": {}}, ""),
        ("extract", {"stores": [{"forwarded": 1}]}, "1 item extracted"),
        ("extract", {"stores": [{"forwarded": 7}, {"forwarded": 3, "missing": 1, "quarantined": 2}]}, "10 items extracted, 3 not readable"),
        ("train", {"test": {"ndcg@10": 0.24504}}, "NDCG@10 0.2450"),
        (
            "train",
            {"test": {"ndcg@10": 0.24504}, "cold_test": {"ndcg@10": 0.0123}},
            "NDCG@10 0.2450, cold 0.0123",
        ),
        ("train", {"epochs": 3}, ""),
        ("evaluate", {"test": {"ndcg@10": 0.1}}, "production: NDCG@10 0.1000"),
        ("evaluate", {"epochs": 3}, ""),
        ("gate", {"holds": True, "all": {"difference": 0.0012}}, "holds, +0.0012"),
        ("gate", {"holds": False, "all": {"difference": -0.03}}, "holds it back, \N{MINUS SIGN}0.0300"),
        ("gate", {"reasons": []}, ""),
        ("refit", {"interactions": 11302}, "on 11,302 interactions"),
        ("refit", {}, ""),
        ("promote", {"alias": "production", "version": 2}, "production: model 2"),
        ("promote", None, ""),
    ],
)  # fmt: skip
def test_an_outcome(step, result, words):
    assert outcome_of(replace(run_row(), step=Step(step), result=result)) == words
