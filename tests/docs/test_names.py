"""What README, CONTRIBUTING, CHANGELOG and docs/ name exists: modules and what is in them, files, links, settings."""

import importlib
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

from crossan.train.settings import RunSettings
from crossan.train.settings.content import FUSIONS_GROUP
from crossan.train.settings.describing import describe_settings
from crossan.train.settings.kinds import MODELS_GROUP
from crossan.train.settings.objective import OBJECTIVES_GROUP

ROOT = Path(__file__).parents[2]
ROOTS = ("cache_schema", "common", "extract", "train")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
DOTTED = re.compile(r"(?<![\w./-])crossan(?:\.[A-Za-z_]\w*)+")
PATH = re.compile(rf"(?<![\w./-])(?:{'|'.join(ROOTS)}|tests|docs|crossan|\.ci)/[\w./-]*[\w/]")
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([\w-]+))?\)|src(?:set)?=\"([^\"]+)\"")
SETTING = re.compile(r"--(?:set|grid|range) ([a-z_]+(?:\.[a-z_]+)?)=")


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request):
    return request.param


@cache
def groups_of_entry_points():
    """Return the groups that pyproject.toml fills and those that other packages may."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {
        *project["entry-points"],
        "crossan.backbones",
        MODELS_GROUP,
        FUSIONS_GROUP,
        OBJECTIVES_GROUP,
    }


def resolves(name):
    """Whether a dotted name is a module, or an attribute or a field of something in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if part in getattr(thing, "model_fields", {}):
                return True
            if not hasattr(thing, part):
                return False
            thing = getattr(thing, part)
        return count > 1
    return False


def test_dotted_names_exist(page):
    names = set(DOTTED.findall(page.read_text(encoding="utf-8"))) - groups_of_entry_points()
    assert [name for name in sorted(names) if not resolves(name)] == []


def exists(path):
    """Whether a path is there from the top, or, of the namespace package, in one of its roots."""
    places = (
        [ROOT / root / path for root in ROOTS] if path.startswith("crossan/") else [ROOT / path]
    )
    return any(place.exists() for place in places)


def test_paths_exist(page):
    paths = set(PATH.findall(page.read_text(encoding="utf-8")))
    assert [path for path in sorted(paths) if not exists(path) and path not in ABSENT] == []


ABSENT = {"crossan/__init__.py"}
"""Named by decision 1 because it must not be there."""


def test_what_is_named_for_its_absence_is_absent():
    assert [path for path in ABSENT if exists(path)] == []


def headings(target):
    """Return the anchors of a page's headings, as GitHub makes them."""
    lines = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in lines}


def test_links_lead_somewhere(page):
    broken = []
    for link, anchor, image in LINK.findall(page.read_text(encoding="utf-8")):
        path = link or image
        if path.startswith(("http:", "https:")):
            continue
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in headings(target)):
            broken.append(f"{path}#{anchor}")
    assert broken == []


def test_settings_exist(page):
    known = {one.name for section in describe_settings(run=RunSettings) for one in section.settings}
    named = set(SETTING.findall(page.read_text(encoding="utf-8")))
    assert sorted(named - known - NOT_OURS) == []


NOT_OURS = {"model.weight", "group.key"}
"""A setting of the model that bring-your-own-model.md adds, and one that stands for any."""


def test_make_targets_exist(page):
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"(?:^    |`)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.M))
    assert sorted(named - targets) == []


def test_the_pages_are_read_at_all():
    """A pattern that matches nothing would let everything pass."""
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert min(len(set(pattern.findall(text))) for pattern in (DOTTED, PATH, LINK, SETTING)) > 10
    assert not resolves("crossan.train.nothing_of_this_name")
    assert not resolves("crossan.train.settings.RunSettings.nothing")
    assert resolves("crossan.train.settings.RunSettings.batch_size")
    assert not exists("train/crossan/train/distributed/")
