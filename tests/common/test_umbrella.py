"""The umbrella finds its groups, answers fast and imports nothing heavy."""

import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

from support.processor_time import times_the_library
from support.selection import beyond

PROGRAMS = {
    "crossan": "crossan.common.umbrella",
    "crossan-extract": "crossan.extract.cli",
    "crossan-train": "crossan.train.cli",
}
HEAVY = ("torch", "transformers", "zarr", "numpy", "pyarrow", "scipy", "PIL", "av")


HELPS = [
    ("crossan", "--help"),
    ("crossan-extract", "--help"),
    ("crossan-train", "--help"),
    ("crossan", "data", "--help"),
    ("crossan", "cache", "--help"),
    ("crossan", "cache", "ls", "-h"),
    ("crossan", "backbones", "--help"),
    ("crossan", "sweep", "--help"),
    ("crossan", "compare", "--help"),
]


@pytest.mark.parametrize("words", HELPS, ids=" ".join)
def test_help_loads_nothing_heavy(words):
    script = (
        f"import sys\nfrom {PROGRAMS[words[0]]} import main\nsys.argv = {list(words)!r}\n"
        "try:\n    main()\nfinally:\n"
        f"    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"
    assert "Usage" in done.stdout


@pytest.mark.parametrize("words", beyond(3, HELPS), ids=" ".join)
def test_help_costs_little_more_than_the_library_that_draws_it(words):
    command = [str(Path(sys.executable).parent / words[0]), *words[1:]]
    cost = times_the_library(lambda: subprocess.run(command, capture_output=True, check=True))
    assert cost < 4  # measured at 2.0 to 2.9 on a loaded machine; torch alone adds 7


def test_every_entry_point_loads():
    for point in (
        *entry_points(group="crossan.commands"),
        *entry_points(group="crossan.media_probes"),
        *entry_points(group="crossan.thumbnails"),
    ):
        assert callable(point.load()), point.name


@pytest.mark.parametrize(
    "command",
    [
        ["crossan"],
        ["crossan-train"],
        ["crossan-extract"],
        [sys.executable, "-m", "crossan"],
        [sys.executable, "-m", "crossan.train"],
    ],
    ids=" ".join,
)
def test_version(command):
    program, *more = command
    path = program if more else str(Path(sys.executable).parent / program)
    done = subprocess.run([path, *more, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{version('crossan')}\n"


def test_an_unknown_command_ends_with_two_and_names_the_nearest():
    program = Path(sys.executable).parent / "crossan"
    unknown = subprocess.run([str(program), "tarin"], capture_output=True, text=True, check=False)
    assert unknown.returncode == 2
    assert unknown.stderr == (
        "UsageError: no such command 'tarin'; did you mean 'train'?\n  Run: crossan --help\n"
    )


def test_no_command_shows_the_help_and_ends_with_two():
    program = Path(sys.executable).parent / "crossan"
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "")
    assert "Usage: crossan " in done.stdout
