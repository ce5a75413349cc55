"""What a sweep may be asked for, and that its file reads back."""

import datetime

import pytest

from crossan.cache_schema.errors import ConfigError, UsageError
from crossan.common.config import load_settings, settings_with, to_toml
from crossan.train.settings import RunSettings
from crossan.train.settings.kinds import model_settings_classes
from crossan.train.sweep.settings import Range, SweepSettings, parse_range
from crossan.train.sweep.trials import Trial, label_of, require_sweepable, trial_settings

BASE = RunSettings.model_validate({"data": {"dataset": "/d", "cache": "/c"}})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-5:1e-2:log", Range(1e-5, 1e-2, is_log=True, is_whole=False)),
        ("0:1", Range(0, 1, is_log=False, is_whole=True)),
        ("0.0:1", Range(0, 1, is_log=False, is_whole=False)),
        ("32:1024:log", Range(32, 1024, is_log=True, is_whole=True)),
        ("-3:+2", Range(-3, 2, is_log=False, is_whole=True)),
    ],
)
def test_a_range_is_read(text, expected):
    assert parse_range("x", text) == expected


@pytest.mark.parametrize(
    "text", ["", "1", "1:2:3", "1:2:log:log", "a:b", "2:1", "1:1", "0:1:log", "nan:1", "0:inf"]
)
def test_what_is_no_range_is_refused(text):
    with pytest.raises(ValueError, match=r"x: expected (low:high or|low < high|0 < low < high)"):
        parse_range("x", text)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"range": {"a": "0:1"}},
            "expected --sampler random or optuna with --range and --trials, got grid",
        ),
        ({"trials": 3}, "expected --sampler random or optuna"),
        (
            {"sampler": "random", "grid": {"a": [1]}},
            "expected --trials N with --sampler random, got none",
        ),
        (
            {"sampler": "random", "trials": 3},
            "expected --grid or --range with --sampler random, got neither",
        ),
        (
            {"sampler": "random", "trials": 3, "grid": {"a": [1]}, "at_once": 2},
            "expected at_once with --sampler optuna",
        ),
        ({"grid": {"a": [1, 2, 1]}}, r"expected distinct values of a, got \[1, 2, 1\]"),
        ({"grid": {"a": []}}, "expected distinct values of a"),
        (
            {"grid": {"init": [datetime.date(2024, 1, 2)]}},
            r"""texts of init, dates and times in quotes \(--grid 'init="2024-01-31"'\), got 2024-01-02""",
        ),
        (
            {"grid": {"a": [1.0, float("inf")]}},
            "expected finite numbers, booleans or texts of a, .*got inf",
        ),
        ({"seeds": [0, 0]}, "expected distinct values of seeds"),
        (
            {"sampler": "random", "trials": 3, "grid": {"a": [1]}, "range": {"a": "0:1"}},
            "expected a once",
        ),
        (
            {"sampler": "random", "trials": 3, "range": {"a": "1:0"}},
            "a: expected low < high, got 1:0",
        ),
        ({"sampler": "bayes"}, "sampler: Input should be 'grid', 'random' or 'optuna'"),
        ({"girds": 1}, "unknown setting 'girds'; did you mean 'grid'"),
    ],
)
def test_what_does_not_fit_together_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        settings_with(SweepSettings(), given, "flags")


def test_the_file_reads_back_and_the_order_of_names_does_not_matter(tmp_path):
    given = {
        "model.layers": [[0], [0, 1]],
        "optimiser.lr": [1e-3, 0.01],
        "model.combine": ["sum", "concat"],
    }
    sweep = SweepSettings.model_validate(
        {
            "grid": given,
            "range": {"batch_size": "32:64"},
            "sampler": "random",
            "trials": 2,
            "seeds": [3, 1],
        }
    )
    (tmp_path / "sweep.toml").write_text(to_toml(sweep))
    assert load_settings(SweepSettings, files=[tmp_path / "sweep.toml"], environment={}) == sweep
    assert list(sweep.grid) == ["model.combine", "model.layers", "optimiser.lr"]
    nested = {
        "optimiser": {"lr": [1e-3, 0.01]},
        "model": {"layers": [[0], [0, 1]], "combine": ["sum", "concat"]},
    }
    assert settings_with(sweep, {"grid": nested}, "x").grid == sweep.grid


@pytest.mark.parametrize(
    "name",
    [
        "seed",
        "mask_history",
        "checkpoint.every_steps",
        "data.dataset",
        "data.max_items",
        "data.split",
        "data.split_seed",
    ],
)
def test_a_setting_that_makes_figures_incomparable_is_no_axis(name):
    with pytest.raises(UsageError, match=f"--grid {name}: cannot be swept: .+"):
        require_sweepable(name)


def test_a_setting_of_the_model_is_an_axis():
    assert [require_sweepable(name) for name in ("model.layers", "data.modality", "seeding")] == [
        None
    ] * 3


def test_a_trial_is_the_base_with_its_values():
    settings = trial_settings(BASE, Trial({"optimiser.lr": 0.5, "model.layers": [0, 1]}, 7))
    assert (settings.optimiser.lr, settings.model.layers, settings.seed) == (0.5, (0, 1), 7)
    assert (
        settings.model_copy(update={"optimiser": BASE.optimiser, "model": BASE.model, "seed": 0})
        == BASE
    )


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (
            {"optimiser.lrr": 0.5},
            "optimiser.lrr=0.5: unknown setting 'optimiser.lrr'; did you mean 'optimiser.lr'",
        ),
        (
            {"optimiser.lr": -1},
            "optimiser.lr=-1: optimiser.lr: Input should be greater than 0, got -1",
        ),
        ({"model.width": 3}, "expected width to be divisible by heads"),
        ({"model.compute": "auto"}, "expected float32 or bfloat16 in a sweep"),
    ],
)
def test_a_trial_that_cannot_be_is_refused(point, message):
    with pytest.raises(UsageError, match=message):
        trial_settings(BASE, Trial(point, 0))


def test_names_tell_points_and_seeds_apart_and_nothing_else():
    points = [{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1, "b": 3}, {}]
    names = [Trial(point, seed).name for point in points for seed in (0, 1)]
    assert names[:2] == names[2:4]
    assert len(set(names)) == 6
    assert names[0][8:] == "-seed0"


def test_a_label_is_for_people():
    assert label_of(
        {"optimiser.lr": 0.000123456, "model.layers": [0, 1], "model.combine": "sum"}
    ) == ('optimiser.lr=0.0001235, model.layers=[0, 1], model.combine="sum"')
    assert label_of({}) == "(base settings)"


@pytest.mark.parametrize(
    "point",
    [
        {
            "optimiser.lr": 0.1 + 0.2,
            "model.layers": [0, 1],
            "model.combine": "concat",
            "reference": True,
        },
        *({"model.kind": kind} for kind in model_settings_classes()),
    ],
    ids=str,
)
def test_the_command_of_a_trial_makes_its_settings(tmp_path, point):
    arguments = Trial(point, 3).assignments()
    (tmp_path / "config.toml").write_text(to_toml(BASE))
    given = [
        value
        for flag, value in zip(arguments[:-2:2], arguments[1:-2:2], strict=True)
        if flag == "--set"
    ]
    made = load_settings(
        RunSettings,
        files=[tmp_path / "config.toml"],
        assignments=[*given, f"seed={arguments[-1]}"],
        environment={},
    )
    assert made == trial_settings(BASE, Trial(point, 3))
