"""The options of training: their choices are those of the settings, and are checked at the door."""

from typing import get_args

import pytest

from crossan.train import features, options
from crossan.train.cli import evaluate, recommend, train
from crossan.train.settings.run import HistoryMask
from support.commands import attempt


def test_the_choices_are_those_of_the_settings_and_of_the_features():
    mask, _ = get_args(options.MaskHistory)
    residence, _ = get_args(options.Residence)
    assert get_args(get_args(mask)[0]) == get_args(HistoryMask)
    assert get_args(residence) == get_args(features.Residence)


@pytest.mark.parametrize(
    ("command", "option", "choices"),
    [
        (train, "--mask-history", "'all', 'unseen-only', 'none'"),
        (evaluate, "--mask-history", "'all', 'unseen-only', 'none'"),
        (recommend, "--residence", "'auto', 'device', 'host', 'streamed'"),
        (train, "--engine", "'local', 'ray'"),
    ],
)
def test_a_choice_that_there_is_not_ends_with_two(command, option, choices, tmp_path):
    run_folder = ("--out", tmp_path / "r") if command is train else (tmp_path / "r",)
    refused = attempt(command, *run_folder, option, "smae")
    assert refused.exit_code == 2
    assert f"'smae' is not one of {choices}" in " ".join(refused.stderr.replace("│", "").split())
    assert not (tmp_path / "r").exists()
