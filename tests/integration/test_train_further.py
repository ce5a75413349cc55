"""A finished run that goes on with more epochs: no figure outlives the weights it was measured with."""

import shutil
import signal

import pytest

from crossan.cache_schema.errors import UsageError
from crossan.train.cli import train
from crossan.train.record import run_folder
from crossan.train.record.following import FollowedRun
from crossan.train.report.cli import report
from support.commands import QUICK, attempt, run, train_in, training
from support.fabricated import write_small
from support.outcomes import outcome
from support.stopping import Died, die_at_step, signal_at_step

SHORT, LONG = (*QUICK, "max_epochs=1"), (*QUICK, "max_epochs=3")
FIGURES = ["result.json", "validation.json", "eval/per_user.parquet"]


def figures_in(folder):
    return [name for name in FIGURES if (folder / name).exists()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run of three epochs, ``whole``, and one of a single epoch with all figures there are, ``short``."""
    place = write_small(tmp_path_factory.mktemp("trained"))
    train_in(place, LONG, out="whole")
    train_in(place, SHORT, "--validation-only", out="short")
    train_in(place, SHORT, "--resume", out="short")
    return place


@pytest.fixture
def place(trained):
    """The same folder with a copy of the short run, ``r``, to go on with."""
    shutil.rmtree(trained / "r", ignore_errors=True)
    shutil.copytree(trained / "short", trained / "r")
    assert figures_in(trained / "r") == FIGURES
    return trained


def test_figures_of_earlier_epochs_do_not_outlive_a_step(place, monkeypatch):
    signal_at_step(monkeypatch, signal.SIGTERM, 2)
    assert attempt(train, *training(place, LONG, "--resume")).exit_code == 143
    assert figures_in(place / "r") == []
    with pytest.raises(UsageError, match=r"found neither; the run is not finished"):
        run(report, place / "r")
    monkeypatch.undo()
    train_in(place, LONG, "--resume")
    assert figures_in(place / "r") == ["result.json", "eval/per_user.parquet"]
    assert outcome(place / "r") == outcome(place / "whole")


def test_figures_are_gone_before_the_first_step_the_result_first(place, monkeypatch):
    removed, real = [], run_folder.remove_durably
    monkeypatch.setattr(
        run_folder, "remove_durably", lambda path: removed.append(path.name) or real(path)
    )
    die_at_step(monkeypatch, 1)
    with pytest.raises(Died):
        train_in(place, LONG, "--resume")
    assert removed == ["result.json", "validation.json", "per_user.parquet", "analysis.json"]
    assert figures_in(place / "r") == []


def test_a_resume_with_nothing_left_to_train_keeps_the_figures(place, monkeypatch):
    monkeypatch.setattr(
        run_folder, "remove_durably", lambda path: pytest.fail(f"{path} was removed")
    )
    train_in(place, SHORT, "--resume")
    assert figures_in(place / "r") == FIGURES


def test_only_the_first_rank_removes_figures(place):
    FollowedRun(place / "r").forget_figures()
    assert figures_in(place / "r") == FIGURES
