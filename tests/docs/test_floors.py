"""The lower bounds of pyproject.toml are the versions that `make test-lowest` installs."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SHIPPED = [
    *PROJECT["dependencies"],
    *(
        requirement
        for extra, requirements in PROJECT["optional-dependencies"].items()
        if extra != "dev"
        for requirement in requirements
    ),
]


def _lowest() -> dict[str, str]:
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def _release(version: str) -> tuple[int, ...]:
    numbers = [int(number) for number in version.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


@pytest.mark.parametrize("requirement", SHIPPED)
def test_a_floor_is_the_version_that_is_tried(requirement):
    match = re.fullmatch(r"([A-Za-z0-9-]+)>=([0-9.]+)(,<\d+)?", requirement)
    assert match, f"expected NAME>=VERSION, found {requirement}"
    name, floor = match[1], match[2]
    tried = _lowest()[name.lower()]
    if name == "torch":  # the comment at the head of constraints-lowest.txt says why
        assert _release(tried) >= _release(floor)
    else:
        assert _release(tried) == _release(floor)
