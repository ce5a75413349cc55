"""The options of training: their choices are those of the settings, and are checked at the door."""

from typing import get_args

import pytest
import typer

from crossan.cache_schema.errors import ConfigError
from crossan.common.config import settings_in
from crossan.common.console import run_command
from crossan.train import features, options
from crossan.train.cli import evaluate, recommend, train
from crossan.train.options import SETTING_OF_FLAG, explain_setting, run_settings
from crossan.train.options.training import Model
from crossan.train.settings import RunSettings
from crossan.train.sweep.cli import sweep
from support.commands import OURS, run
from support.refusals import refusal


def test_the_choices_are_those_of_the_features():
    residence, _ = get_args(options.Residence)
    assert get_args(residence) == get_args(features.Residence)


def test_the_help_of_model_names_every_kind_of_ours():
    _, option = get_args(Model)
    named = option.help.rpartition(": ")[2].removesuffix(".").split(", ")
    assert named == list(OURS)


@pytest.mark.parametrize(
    ("command", "option", "choices"),
    [
        (train, "--mask-history", "all, unseen-only, none"),
        (evaluate, "--mask-history", "all, unseen-only, none"),
        (recommend, "--residence", "auto, device, host, streamed"),
        (train, "--engine", "local, ray"),
    ],
)
def test_a_choice_that_there_is_not_is_refused(command, option, choices, tmp_path):
    run_folder = ("--out", tmp_path / "r") if command is train else (tmp_path / "r",)
    app = typer.Typer()
    app.command()(command)
    said = refusal(app, *run_folder, option, "smae")
    assert said.startswith(f"{option} smae: expected one of {choices}\n")
    assert not (tmp_path / "r").exists()


SETTINGS = sorted({setting.name for setting in settings_in(RunSettings)})


def spelt(name):
    """All ways in which a setting may be typed as an option."""
    last = name.rpartition(".")[2]
    ways = {name, last, name.replace(".", "-"), name.replace(".", "_")}
    return {f"--{one}" for way in ways for one in (way, way.replace("_", "-"))}


@pytest.mark.parametrize("command", [train, sweep])
def test_every_setting_typed_as_an_option_is_named(command, monkeypatch, capsys):
    app = typer.Typer(add_completion=False)
    app.command()(command)
    options = {name for param in typer.main.get_command(app).params for name in param.opts}
    for name in SETTINGS:
        for option in sorted(spelt(name)):
            if option.replace("_", "-") in options:
                continue
            arguments = ["--out", "r", option, "3"]
            monkeypatch.setattr("sys.argv", ["prog", *arguments])
            with pytest.raises(SystemExit) as stopped:
                run_command(command, "prog")
            assert stopped.value.code == 2
            error = capsys.readouterr().err.splitlines()
            assert error[0].startswith(f"UsageError: {option}: no such option; it is a setting: ")
            assert f"--set {name}=3" in error[0]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--max-epochs", "3"], "it is a setting: --set max_epochs=3"),
        (["--max-epochs=3"], "it is a setting: --set max_epochs=3"),
        (["--model.top_k=2"], "it is a setting: --set model.top_k=2"),
        (["--dropout"], "it is a setting: --set model.dropout=VALUE"),
        (["--dropout", "--resume"], "it is a setting: --set model.dropout=VALUE"),
        (["--id-embedding"], "it is a setting: --set model.id_embedding=true"),
        (["--id-embedding", "false"], "it is a setting: --set model.id_embedding=false"),
        (["--storage", "a b"], "it is a setting: --set 'features.storage=a b'"),
        (["--mask_history", "all"], "did you mean '--mask-history'?"),
        (["--max-epoch", "3"], "did you mean '--epochs'?"),
    ],
)
def test_a_wrong_option_of_training(typed, message, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["crossan-train", "--out", "r", *typed])
    with pytest.raises(SystemExit) as stopped:
        run_command(train, "crossan-train")
    assert stopped.value.code == 2
    option = typed[0].partition("=")[0]
    assert capsys.readouterr().err.splitlines()[0] == (
        f"UsageError: {option}: no such option; {message}"
    )


def test_a_flag_of_training_is_a_setting_of_the_sweep():
    assert explain_setting("--epochs", "3") == "it is a setting: --set max_epochs=3"
    assert explain_setting("--lr", "1e-4") == "it is a setting: --set optimiser.lr=1e-4"
    assert explain_setting("--nothing", "3") is None


def test_every_flag_of_training_gives_its_setting(tmp_path):
    (tmp_path / "c.toml").write_text("[data]\ndataset = 'd'\n")
    flags = {
        "--lr": 0.5,
        "--batch-size": 7,
        "--epochs": 3,
        "--patience": 2,
        "--seed": 5,
        "--max-items": 9,
    }
    settings = run_settings(flags | {"--dataset": None}, [tmp_path / "c.toml"], [])
    assert (settings.optimiser.lr, settings.optimiser.adapter_lr) == (0.5, 3e-3)
    assert (settings.batch_size, settings.max_epochs, settings.patience) == (7, 3, 2)
    assert (settings.seed, settings.data.max_items) == (5, 9)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"--lr": 0.0}, "--lr 0.0: optimiser.lr: Input should be greater than 0, got 0.0"),
        (
            {"--epochs": 0},
            "--epochs 0: max_epochs: Input should be greater than or equal to 1, got 0",
        ),
        ({"--seed": -1}, "--seed -1: seed: Input should be greater than or equal to 0, got -1"),
    ],
)
def test_a_wrong_value_names_the_flag(flags, message):
    with pytest.raises(ConfigError) as caught:
        run_settings({"--dataset": "d"} | flags, [], [])
    assert str(caught.value) == message


def test_every_flag_leads_to_a_setting():
    assert set(SETTING_OF_FLAG.values()) <= set(SETTINGS)
    assert all(flag in _train_options() for flag in SETTING_OF_FLAG)


def _train_options():
    app = typer.Typer(add_completion=False)
    app.command()(train)
    return {name for param in typer.main.get_command(app).params for name in param.opts}


def test_a_wrong_value_of_a_sweep_names_its_flag(tmp_path):
    given = (
        "--out",
        tmp_path / "s",
        "--sampler",
        "random",
        "--sampler-seed",
        "-1",
        "--trials",
        "0",
    )
    with pytest.raises(ConfigError) as caught:
        run(sweep, *given)
    assert str(caught.value).split("\n  ") == [
        "--trials: trials: Input should be greater than or equal to 1, got 0",
        "--sampler-seed: sampler_seed: Input should be greater than or equal to 0, got -1",
    ]
