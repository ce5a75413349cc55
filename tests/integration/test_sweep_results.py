"""`crossan sweep` to its end: what is chosen, what was judged on test, and what the same folder takes afterwards."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from crossan.cache_schema.errors import (
    BusyError,
    UsageError,
)
from crossan.train.sweep import judging
from crossan.train.sweep.cli import TrialsFailedError
from support.outcomes import unmeasured, unmeasured_bytes
from support.sweeps import (
    WEIGHTS,
    run_sweep,
    run_train,
    train_here,
)

DIVERGES = ("--grid", "optimiser.lr=1e-2,1e30", "--seeds", "0,1", "--jobs", "2", "--threads", "1")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def swept(place):
    """A finished sweep one of whose two settings diverges; its trials are real processes."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(judging, "run_commands", train_here)
        with pytest.raises(TrialsFailedError, match="2 trials failed, first: runs/") as failed:
            run_sweep(place, *DIVERGES)
    assert failed.value.exit_code == 1
    return json.loads((place / "s/sweep.json").read_text())


def test_a_diverged_trial_is_recorded_and_the_others_count(place, swept):
    assert [one["point"] for one in swept["settings"]] == [{"optimiser.lr": 0.01}]
    assert swept["chosen"] == swept["settings"][0]
    assert [(one["point"], one["seed"], one["exit_code"]) for one in swept["failed"]] == [
        ({"optimiser.lr": 1e30}, 0, 1),
        ({"optimiser.lr": 1e30}, 1, 1),
    ]
    assert all(one["reason"].startswith("TrainingDivergedError: ") for one in swept["failed"])


def test_weights_and_figures_are_those_of_plain_training(place, swept):
    for run in swept["chosen"]["runs"]:
        plain = run_train(
            place, "--set", "optimiser.lr=0.01", "--seed", run["seed"], out=f"plain-{run['seed']}"
        )
        trial, twin = place / "s" / run["run"], place / f"plain-{run['seed']}"
        for file in (*WEIGHTS, "eval/per_user.parquet"):
            assert unmeasured_bytes(trial / file) == unmeasured_bytes(twin / file), file
        assert unmeasured(json.loads((trial / "result.json").read_text())) == unmeasured(plain)
        assert run["valid"] == plain["valid"]


def test_mean_and_deviation_are_over_the_seeds(place, swept):
    results = [
        json.loads((place / "s" / run["run"] / "result.json").read_text())
        for run in swept["chosen"]["runs"]
    ]
    for split, found in (
        ("valid", swept["chosen"]["valid"]),
        ("cold_valid", swept["chosen"]["cold_valid"]),
        ("test", swept["test"]),
        ("cold_test", swept["cold_test"]),
    ):
        if found is None:
            assert [result[split]["targets"] for result in results] == [0, 0], split
            continue
        one, two = (result[split]["hr@10"] for result in results)
        assert found["hr@10"]["mean"] == pytest.approx((one + two) / 2)
        assert found["hr@10"]["sd"] == pytest.approx(abs(one - two) / 2**0.5)  # sqrt(2 * (d / 2)^2)


def test_only_the_chosen_setting_was_judged_on_test(place, swept):
    judged = {path.parent.name for path in (place / "s/runs").glob("*/result.json")}
    assert judged == {Path(run["run"]).name for run in swept["chosen"]["runs"]}
    selection = json.loads((place / "s/selection.json").read_text())
    assert "test" not in selection
    assert {key: swept[key] for key in selection} == selection


def test_the_same_command_again_starts_nothing_and_says_the_same(place, swept, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a process was started")

    before = {path: path.stat().st_mtime_ns for path in (place / "s/runs").rglob("*")}
    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(TrialsFailedError):
        run_sweep(place, *DIVERGES)
    assert json.loads((place / "s/sweep.json").read_text()) == swept
    assert {path: path.stat().st_mtime_ns for path in (place / "s/runs").rglob("*")} == before


@pytest.mark.parametrize(
    ("more", "difference"),
    [
        (
            ("--grid", "optimiser.lr=1e-2,1e-3", "--seeds", "0,1"),
            r"grid.optimiser.lr: \[0.01, 1e\+30\] there, \[0.01, 0.001\]",
        ),
        (
            ("--grid", "optimiser.lr=1e-2,1e30", "--seeds", "0,2"),
            r"seeds: \[0, 1\] there, \[0, 2\] asked",
        ),
        ((*DIVERGES, "--threads", "3"), r"threads: 1 there, 3 asked"),
        ((*DIVERGES, "--set", "model.dropout=0.3"), r"model.dropout: 0.2 there, 0.3 asked"),
    ],
)
def test_another_sweep_in_the_same_folder_is_refused_and_named(place, swept, more, difference):
    with pytest.raises(
        UsageError, match=f"(?s)the sweep in this folder has other settings.*{difference}"
    ):
        run_sweep(place, *more)


def test_two_sweeps_do_not_share_a_folder(place, swept):
    holder = (
        "import sys; from pathlib import Path; from crossan.common.claim import claim\n"
        "claim(Path(sys.argv[1]), 'sweeps'); print(1, flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", holder, str(place / "s")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        other.stdout.readline()
        with pytest.raises(BusyError, match="another process sweeps in this folder"):
            run_sweep(place, *DIVERGES)
    finally:
        other.kill()
        other.communicate()
    with pytest.raises(TrialsFailedError):  # what a killed one leaves behind is no lock
        run_sweep(place, *DIVERGES)


def test_a_plan_in_a_file_is_the_same_sweep(tmp_path, place, swept):
    (tmp_path / "plan.toml").write_text(
        "seeds = [0, 1]\nthreads = 1\n[grid]\noptimiser.lr = [1e-2, 1e30]\n"
    )
    with pytest.raises(TrialsFailedError):
        run_sweep(place, "--sweep", tmp_path / "plan.toml")
    with pytest.raises(TrialsFailedError):
        run_sweep(place, "--sweep", place / "s/sweep.toml")
