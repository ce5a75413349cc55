"""What Tab completes, asked as bash asks, and that it loads nothing heavy."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.processor_time import times_the_library

PROGRAMS = Path(sys.executable).parent


def complete(*words):
    """Return what bash would offer for the last of some words."""
    variable = f"_{words[0].replace('-', '_').upper()}_COMPLETE"
    asked = {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        [str(PROGRAMS / words[0])],
        env=os.environ | asked | {variable: "complete_bash"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("crossan", "ca"), ["cache"]),
        (("crossan", "cache", "ver"), ["verify"]),
        (("crossan", "data", "s"), ["sample"]),  # a command that another layer adds
        (("crossan", "train", "--residence", ""), ["auto", "device", "host", "streamed"]),
        (("crossan", "backbones", "info", "--modality", "te"), ["text"]),
        (("crossan-train", "--mask-history", "u"), ["unseen-only"]),
        (("crossan-train", "--device", "c"), ["cpu", "cuda"]),
        (("crossan-train", "--max-r"), ["--max-ram"]),
        (("crossan-extract", "--modality", "text,a"), ["text,audio", "text,all"]),
        (("crossan-extract", "--codec", ""), ["raw", "zstd", "blosc"]),
    ],
)
def test_bash_is_offered(words, offered):
    assert complete(*words) == offered


def test_all_commands_are_offered():
    assert {"backbones", "cache", "data", "demo", "extract", "train"} <= set(
        complete("crossan", "")
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_shown(shell):
    done = subprocess.run(
        [str(PROGRAMS / "crossan-train")],
        env=os.environ | {"_CROSSAN_TRAIN_COMPLETE": f"source_{shell}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert "_CROSSAN_TRAIN_COMPLETE" in done.stdout


def test_completing_costs_little_more_than_the_library_that_does_it():
    cost = times_the_library(lambda: complete("crossan", "train", "--dev"))
    assert cost < 4  # torch alone adds 7
