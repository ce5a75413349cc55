"""The systemd unit and the container file of docs/howto/service/ are what their tools take."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from crossan.train.service.cli import serve
from support.started import PROGRAMS

FOLDER = Path(__file__).parents[2] / "docs" / "howto" / "service"
UNIT, CONTAINER = FOLDER / "crossan.service", FOLDER / "Dockerfile"


def test_systemd_takes_the_unit(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    text = UNIT.read_text()
    # It looks for the program, which is installed elsewhere here.
    assert "/opt/crossan/bin/crossan serve" in text
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace("/opt/crossan/bin/crossan", str(PROGRAMS / "crossan")))
    done = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    unit.write_text(unit.read_text().replace("KillMode=process", "KillMod=process"))
    broken = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert "KillMod" in broken.stderr


def test_the_unit_leaves_trainings_alone():
    settings = dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))
    assert settings["KillMode"] == "process"
    assert require_options(shlex.split(settings["ExecStart"])[2:])


def instructions(text):
    """Return the instructions of a container file with what stands behind them."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines()]


KNOWN = {
    "FROM", "ARG", "RUN", "USER", "WORKDIR", "VOLUME", "ENV", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD",
}  # fmt: skip


def test_the_container_file_is_one():
    steps = instructions(CONTAINER.read_text())
    names = [name for name, _ in steps]
    assert names[0] == "FROM"
    assert set(names) <= KNOWN
    assert [names.count(name) for name in ("FROM", "ENTRYPOINT", "CMD", "HEALTHCHECK")] == [1] * 4
    # A tag that stays, no rights, and nothing that a shell would read again.
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", dict(steps)["FROM"])
    assert f"--uid {dict(steps)['USER']} crossan" in CONTAINER.read_text()
    assert dict(steps)["ARG"] == f"CROSSAN_VERSION={version('crossan')}"
    assert names.index("USER") > max(place for place, name in enumerate(names) if name == "RUN")
    for name in ("ENTRYPOINT", "CMD", "VOLUME"):
        assert all(isinstance(word, str) for word in json.loads(dict(steps)[name]))


def test_hadolint_takes_the_container_file(tmp_path):
    def check(file):
        command = [PROGRAMS / "hadolint", "--no-color", file]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = check(CONTAINER)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    broken = tmp_path / "Dockerfile"
    broken.write_text(CONTAINER.read_text().replace("USER 10001", "USR 10001"))
    assert "unexpected 'U'" in check(broken).stdout + check(broken).stderr


def test_the_container_starts_the_service_with_options_that_there_are():
    steps = dict(instructions(CONTAINER.read_text()))
    words = [*json.loads(steps["ENTRYPOINT"]), *json.loads(steps["CMD"])]
    assert words[:4] == ["tini", "--", "crossan", "serve"]
    assert require_options(words[4:])
    check = json.loads(steps["HEALTHCHECK"].partition("CMD ")[2])
    assert check[:2] == ["python", "-c"]
    compile(check[2], "HEALTHCHECK", "exec")


def require_options(words):
    """Return the options among some words, each of which ``crossan serve`` has."""
    given = [word for word in words if word.startswith("--")]
    known = {
        flag
        for annotation in serve.__annotations__.values()
        for flag in re.findall(r"['\"](--[a-z-]+)['\"]", str(annotation))
    }
    assert set(given) <= known, (given, known)
    return given
