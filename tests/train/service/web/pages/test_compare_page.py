"""The page on which runs are compared."""

from crossan.train.service.web.pages.compare_pages import compare_page
from support.dashboard import COMPARISON, run_row, view
from support.page_rules import DashboardPage


def test_cold_figures_stand_beside_those_of_all_targets():
    runs = [run_row(1), run_row(2)]
    page = compare_page(view("read", "/compare"), runs, [1, 2], COMPARISON)
    words = DashboardPage(page).words()
    assert "NDCG@10 Cold HR@10 Cold NDCG@10" in words
    assert "0.0471 0.0233" in words


def test_without_cold_targets_there_is_no_column_of_them():
    rows = [{**row, "cold": None} for row in COMPARISON["rows"]]
    page = compare_page(view("read", "/compare"), [], [], {**COMPARISON, "rows": rows})
    assert "Cold HR@10" not in DashboardPage(page).words()
