"""What `crossan sweep` refuses before anything starts."""

import sys

import pytest

from crossan.cache_schema.errors import (
    ConfigError,
    DataError,
    StoreNotFoundError,
    UsageError,
)
from support.sweeps import run_sweep


def test_a_folder_with_other_files_is_refused(place, tmp_path):
    (tmp_path / "mine").write_text("")
    with pytest.raises(UsageError, match="expected an empty folder or a sweep, found other files"):
        run_sweep(place, out=tmp_path)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ("--grid", "optimiser.lrr=1e-3"),
            "unknown setting 'optimiser.lrr'; did you mean 'optimiser.lr'",
        ),
        (
            ("--grid", "optimiser.lr=1e-3,-1"),
            "optimiser.lr: Input should be greater than 0, got -1",
        ),
        (
            ("--grid", "model.bottleneck_dim=8,x"),
            "model.bottleneck_dim: Input should be a valid integer",
        ),
        (("--grid", "optimiser.lr"), "--grid optimiser.lr: expected KEY=VALUES"),
        (("--grid", "model.layers=[0"), r"--grid \[0: expected values divided by commas"),
        (
            ("--grid", "init=2024-01-01,2024-01-02"),
            "of init, dates and times in quotes .*, got 2024-01-01",
        ),
        (("--grid", "model.width=16,17"), "expected width to be divisible by heads"),
        (("--seeds", "0,-1"), "seed: Input should be greater than or equal to 0"),
        (
            ("--sampler", "random", "--trials", "2", "--range", "optimiser.lr=-2.0:-1.0"),
            "optimiser.lr: Input should be greater than 0, got -1",
        ),
    ],
)
def test_a_wrong_name_or_value_is_told_before_anything_starts(place, tmp_path, more, message):
    with pytest.raises(ConfigError, match=message) as refused:
        run_sweep(place, *more, out=tmp_path / "s")
    assert refused.value.exit_code == 2
    assert not (tmp_path / "s").exists()


def test_ends_of_a_range_are_checked_before_optuna_proposes_anything(place, tmp_path):
    pytest.importorskip(
        "optuna",
        reason="optuna is not installed (pip install '.[optuna]'): its sampler is untested",
    )
    more = ("--sampler", "optuna", "--trials", "2", "--range", "optimiser.lr=-1.0:1")
    with pytest.raises(ConfigError, match="optimiser.lr: Input should be greater than 0, got -1.0"):
        run_sweep(place, *more, out=tmp_path / "s")


def test_without_optuna_nothing_is_begun(place, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    more = ("--sampler", "optuna", "--trials", "2", "--range", "optimiser.lr=1e-3:1")
    with pytest.raises(UsageError, match=r"pip install 'crossan\[optuna\]'"):
        run_sweep(place, *more, out=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_what_every_trial_would_stop_at_is_told_before_anything_starts(place, tmp_path):
    single = ("--set", 'data.modality=["image"]')
    with pytest.raises(DataError, match="2 items have none of the modalities image"):
        run_sweep(place, *single, "--set", "model.top_k=1", out=tmp_path / "s")
    with pytest.raises(
        UsageError, match="model.top_k: expected at most 2, the number of towers, .+, got 3"
    ):
        run_sweep(place, "--grid", "model.top_k=1,3", out=tmp_path / "s")
    with pytest.raises(StoreNotFoundError, match="expected a store of audio, found none"):
        run_sweep(place, "--set", 'data.modality=["audio"]', out=tmp_path / "s")
    assert not (tmp_path / "s").exists()
