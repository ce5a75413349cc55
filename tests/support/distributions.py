"""Distributions as an installer lays them out, and the code that a page of the docs tells its readers to install."""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from pathlib import Path

from crossan.common import plugins
from crossan.train.settings import kinds

HOWTO = Path(__file__).parents[2] / "docs" / "howto"


def lay_out(site, name, files, points):
    """Lay out a distribution: its modules by file name, its entry points by group and name."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [
        line
        for group, targets in points.items()
        for line in (f"[{group}]", *(f"{point} = {target}" for point, target in targets.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for file, text in files.items():
        (site / file).write_text(text)


def look_anew():
    """Have the next look at distributions be a fresh one, as in another process; their modules are called ``shop_...``."""
    for name in [name for name in sys.modules if name.startswith("shop_")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    plugins.plugin_names.cache_clear()
    kinds._loads.cache_clear()


class Page:
    """The blocks of a how-to that adds parts by entry points."""

    def __init__(self, name):
        self.text = (HOWTO / name).read_text(encoding="utf-8")
        blocks = re.findall(r"```(\w+)\n(.*?)```", self.text, re.DOTALL)
        python = [text for kind, text in blocks if kind == "python"]
        self.files = {text.splitlines()[0].removeprefix("# "): text for text in python}
        """The modules by file name, which is their first line."""
        (toml,) = [text for kind, text in blocks if kind == "toml"]
        self.points = tomllib.loads(toml)["project"]["entry-points"]
        """The entry points by group and name."""
        self.shell = [text.strip() for kind, text in blocks if kind == "sh"]
        """What is typed."""
