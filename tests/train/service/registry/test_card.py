"""What the queue and a card repeat of the result of a training."""

import json

import pytest

from crossan.train.service.nights.results import figures_of
from crossan.train.service.registry.card import card_of, require_sound
from support.registered import RANKS, a_row, a_run

COLD = {"targets": 3, "hr@10": 0.25, "ndcg@10": 0.125}


@pytest.fixture
def ended(tmp_path):
    """A finished run whose training dropped its rates once and was ended by its patience."""
    run = a_run(tmp_path / "r", RANKS)
    result = json.loads((run / "result.json").read_text())
    more = {"stopped_by": "patience", "drops": [{"after": 3, "from": 2}], "cold_valid": COLD}
    (run / "result.json").write_text(json.dumps(result | more))
    return run, more


def test_the_queue_keeps_how_training_ended_and_the_cold_figures(ended):
    run, more = ended
    kept = figures_of(run)
    assert {name: kept[name] for name in more} == more
    assert kept["cold_test"]["targets"] >= 0


def test_the_card_says_how_training_ended_and_the_cold_figures(ended, database):
    run, more = ended
    card = card_of(a_row(database), run, None, require_sound(run), {})
    assert {name: card["figures"][name] for name in more} == more
