"""crossan demo: what it refuses, what it promises, and the whole tour."""

import json
import subprocess

import pytest

from crossan.cache_schema.errors import UsageError
from crossan.common import demo
from crossan.common.demo import DemoError
from support.started import PROGRAMS


def make_results(test, popularity, cold, shuffled_cold):
    metrics = {"hr@10": test}
    twin = {"valid": metrics, "test": metrics, "cold_test": {"hr@10": shuffled_cold, "targets": 4}}
    ours = {"valid": metrics, "test": metrics, "cold_test": {"hr@10": cold, "targets": 4}}
    return {
        "crossan": ours | {"popularity": {"valid": metrics, "test": {"hr@10": popularity}}},
        "shuffled": twin,
    }


def test_ratios_by_hand():
    ratios = demo._ratios(make_results(0.4, 0.1, 0.3, 0.05))
    assert ratios == pytest.approx({"test_over_popularity": 4.0, "cold_over_shuffled": 6.0})
    demo._check(ratios)


@pytest.mark.parametrize(
    ("results", "match"),
    [
        (
            make_results(0.19, 0.1, 0.3, 0.05),
            r"test_over_popularity: expected at least 2.0, found 1.90",
        ),
        (
            make_results(0.4, 0.1, 0.3, 0.2),
            r"cold_over_shuffled: expected at least 3.0, found 1.50",
        ),
    ],
)
def test_a_comparison_that_does_not_hold_is_an_error(results, match):
    with pytest.raises(DemoError, match=match):
        demo._check(demo._ratios(results))
    assert DemoError.exit_code == 1


def test_a_folder_the_demo_did_not_make_is_left_alone(tmp_path):
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(UsageError, match="was not made by an earlier demo"):
        demo._prepare(tmp_path)
    assert (tmp_path / "precious").read_text() == "mine"


def test_an_earlier_demo_is_replaced(tmp_path):
    out = tmp_path / "demo"
    demo._prepare(out)
    (out / "old").write_text("x")
    demo._prepare(out)
    assert not (out / "old").exists()


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_the_tour_keeps_its_promises(toured):
    figures = json.loads((toured / "stdout").read_text().splitlines()[-1])
    assert figures["ratios"]["test_over_popularity"] >= 2
    assert figures["ratios"]["cold_over_shuffled"] >= 3
    assert (toured / "demo" / "report.html").is_file()
    said = (toured / "stderr").read_text()
    for command in (
        "crossan data sample",
        "crossan-extract --modality video",
        "crossan-train",
        "crossan report",
    ):
        assert f"$ {command}" in said
    second = subprocess.run(
        [PROGRAMS / "crossan", "data", "sample", "demo/dataset"],
        cwd=toured, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert second.returncode == 2
    assert "a dataset is in this folder already" in second.stderr
