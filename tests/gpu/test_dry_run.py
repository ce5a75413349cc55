"""The accelerator's script on a CPU: all of it at small shapes, and what it does with a fault."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.append(str(HERE))

from report import Report  # noqa: E402

PARTS = {
    "loss and gradients", "ranks", "residences", "repeats", "recording", "states", "steps",
    "training", "validation", "epochs", "out of memory", "kinds", "extraction",
    "residences, epochs", "streamed",
}  # fmt: skip


@pytest.mark.slow
def test_the_whole_script_runs_dry_and_every_check_holds(tmp_path):
    done = subprocess.run(
        [sys.executable, HERE / "run.py", "--dry", "--out", tmp_path, "--seconds", "800"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    (raw,) = tmp_path.glob("cpu-*.json")
    seen = json.loads(raw.read_text())
    assert set(seen["seconds"]) == PARTS
    assert seen["failures"] == {}
    # Each model by three ways (bfloat16 for the one with adapters), ranks, residences, repeats,
    # recording, four families in two types, memory that runs out, kinds.
    assert len(seen["checks"]) == 7 + 1 + 2 + 3 + 2 + 8 + 3 + 1
    assert all(check["holds"] for check in seen["checks"])
    page = raw.with_suffix(".md").read_text()
    assert all(figure["name"] in page for figure in seen["figures"])


def test_without_a_card_it_says_how_to_run_dry(tmp_path):
    done = subprocess.run(
        [sys.executable, HERE / "run.py", "--out", tmp_path],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 2
    assert "make gpu DRY=1" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_part_of_another_name_is_refused(tmp_path):
    done = subprocess.run(
        [sys.executable, HERE / "run.py", "--dry", "--out", tmp_path, "--only", "step"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "invalid choice: 'step'" in done.stderr
    assert not list(tmp_path.iterdir())


def fail():
    raise RuntimeError("no such kernel")


def test_a_part_that_fails_costs_no_other():
    report, taken = Report(60), []
    report.take("first", fail)
    report.take("second", lambda: taken.append("second"))
    assert "no such kernel" in report.failures["first"]
    assert taken == ["second"]
    assert not report.holds


def test_what_there_is_no_time_for_is_named():
    report, taken = Report(0.0), []
    report.take("first", lambda: taken.append("first"))
    assert not taken
    assert report.failures == {"first": "left out: the time was over"}


@pytest.mark.parametrize(
    ("seen", "holds"), [(0.0, True), (1.0, True), (1.01, False), (float("nan"), False)]
)
def test_a_check_holds_within_its_tolerance_alone(seen, holds):
    report = Report(60)
    report.check("apart", seen, 1.0)
    assert report.holds is holds


@pytest.mark.parametrize(
    ("value", "is_floor", "meets"),
    [(0.4, True, True), (0.3, True, False), (0.4, False, True), (0.5, False, False)],
)
def test_a_goal_is_the_most_or_the_least(value, is_floor, meets):
    report = Report(60)
    report.figure("share", value, "", 0.4, is_floor=is_floor)
    (figure,) = report.figures
    assert figure.meets is meets
    assert report.holds  # a goal that is missed is told, and is no fault
