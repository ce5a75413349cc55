"""The umbrella finds its groups, answers fast and imports nothing heavy."""

import resource
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

PROGRAMS = {
    "crossan": "crossan.common.umbrella",
    "crossan-extract": "crossan.extract.cli",
    "crossan-train": "crossan.train.cli",
}
HEAVY = ("torch", "transformers", "zarr", "numpy", "pyarrow", "PIL", "av")


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_loads_nothing_heavy(program):
    script = (
        f"import sys\nfrom {PROGRAMS[program]} import main\nsys.argv = ['{program}', '--help']\n"
        f"try:\n    main()\nfinally:\n    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"
    assert "Usage" in done.stdout


@pytest.mark.parametrize("group", ["data", "cache", "backbones"])
def test_group_help_loads_nothing_heavy(group):
    script = (
        "import sys\nfrom crossan.common.umbrella import main\n"
        f"sys.argv = ['crossan', '{group}', '--help']\n"
        f"try:\n    main()\nfinally:\n    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_answers_in_half_a_second_of_cpu(program):
    path = Path(sys.executable).parent / program
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([str(path), "--help"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
    assert spent < 0.5  # the promise; CPU time, not wall time; measured at 0.1 s


def test_every_entry_point_loads():
    for point in (
        *entry_points(group="crossan.commands"),
        *entry_points(group="crossan.media_probes"),
    ):
        assert callable(point.load()), point.name


def test_version_and_unknown_command():
    program = Path(sys.executable).parent / "crossan"
    version = subprocess.run(
        [str(program), "--version"], capture_output=True, text=True, check=True
    )
    assert version.stdout.count(".") >= 2
    unknown = subprocess.run([str(program), "tarin"], capture_output=True, text=True, check=False)
    assert unknown.returncode == 2
    assert "Traceback" not in unknown.stderr
