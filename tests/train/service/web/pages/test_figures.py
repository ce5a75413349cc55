"""Figures of results, cards and gates as tables."""

from crossan.train.service.web.pages.figures import figure_table, headline, ndcg_of, verdict_of
from support.dashboard import CARD, RESULT, VERDICT


def test_metrics_are_a_table_and_everything_else_pairs():
    table = figure_table(RESULT)
    assert table.columns == ("NDCG@10", "HR@10", "MRR@10", "NDCG@20", "HR@20")
    assert table.rows[0] == ("Test", [0.0641, 0.1178, 0.0489, 0.0802, 0.181])
    assert table.rows[1] == ("Test, cold items", [0.0233, 0.0471, None, None, None])
    assert table.rows[3] == ("Validation, cold items", [0.0251, 0.0512, None, None, None])
    assert {("best_epoch", "9"), ("stopped_by", "patience"), ("drops.after", "7")} <= {
        *table.entries
    }
    assert not any(name.startswith("test") for name, _ in table.entries)


def test_a_part_without_targets_is_no_row_of_zeros():
    none = {"targets": 0, "hr@10": 0.0, "ndcg@10": 0.0}
    table = figure_table({**RESULT, "cold_valid": none})
    assert [title for title, _ in table.rows] == ["Test", "Test, cold items", "Validation"]
    assert ndcg_of({"cold_test": none}, "cold_test") is None
    assert ndcg_of(RESULT, "cold_test") == 0.0233


def test_a_result_without_metrics_is_pairs_alone():
    table = figure_table({"added": {"items": 10}, "test": None})
    assert (table.columns, table.rows, table.entries) == ((), [], [("added.items", "10")])
    assert figure_table({}).entries == []


def test_a_model_is_known_by_its_test_figures():
    assert headline(CARD) == [
        ("Test NDCG@10", 0.0641),
        ("Test HR@10", 0.1178),
        ("Cold NDCG@10", 0.0233),
    ]
    assert headline({}) == []
    assert headline({"figures": {"test": None, "cold_test": {}}}) == []


def test_a_gate_shows_what_it_measured_with_the_interval_and_the_margin():
    verdict = verdict_of(VERDICT)
    assert verdict.holds
    everyone, cold = verdict.rows
    assert (everyone.difference, everyone.interval, everyone.margin) == (
        0.0012,
        (-0.0008, 0.0031),
        0.002,
    )
    assert (cold.users, cold.margin, cold.is_shown) == (212, 0.005, False)
    assert ("left_out.candidate", "3") in verdict.entries


def test_a_gate_that_holds_back_says_why():
    held = {**VERDICT, "holds": False, "reasons": ["worse", "cold-blind"], "cold": None}
    verdict = verdict_of(held)
    assert not verdict.holds
    assert verdict.reason == "worse; cold-blind"
    assert [row.name for row in verdict.rows] == ["All"]
    assert verdict_of(None) is None
    assert verdict_of({"skipped": "no production"}) is None
