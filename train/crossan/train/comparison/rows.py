"""The rows of a comparison, each of them one setting with all its seeds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crossan.cache_schema.errors import UsageError
from crossan.common.config import to_toml
from crossan.train.comparison.finished import FinishedRun, finished_runs
from crossan.train.settings import CheckpointSettings, RunSettings

__all__ = ["Row", "baseline_of", "rows_of"]

_BETWEEN = "-_.= "
"""Characters that may stand between the name of a setting and its seed."""


@dataclass(frozen=True, slots=True)
class Row:
    """Runs whose settings differ in the seed alone."""

    name: str
    runs: tuple[FinishedRun, ...]
    given: tuple[str, ...]
    """The folders as the user named them."""

    @property
    def model(self) -> str:
        """The kind of model that was trained."""
        return str(self.runs[0].figures["model"])

    @property
    def seeds(self) -> list[int]:
        """The seeds, in the order of the runs."""
        return [run.settings.seed for run in self.runs]


def rows_of(arguments: Sequence[str]) -> list[Row]:
    """Return the rows that folders make, in the order in which they are named.

    Parameters
    ----------
    arguments
        Run folders and sweep folders. ``NAME=FOLDER`` gives a row its name.

    Raises
    ------
    UsageError
        A folder holds no finished run, or two rows have one name.
    StoreIntegrityError
        A record is damaged.
    """
    groups: dict[tuple[str, str], _Group] = {}
    seen: set[Path] = set()
    for argument in arguments:
        name, path = _parse(argument)
        for run in finished_runs(path):
            if run.path.resolve() in seen:
                continue
            seen.add(run.path.resolve())
            key = (name, _setting_key(run))
            # Two runs of one seed are no spread: the second begins a row of its own.
            while key in groups and run.settings.seed in groups[key].seeds():
                key = (key[0], f"{key[1]}#")
            groups.setdefault(key, _Group(name, [], [])).add(run, path)
    names = _names(list(groups.values()))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(
            f"{twice}: expected one setting under each name, found several",
            remedy="Give each its own: NAME=FOLDER",
        )
    return [
        Row(name, tuple(group.runs), tuple(dict.fromkeys(map(str, group.paths))))
        for name, group in zip(names, groups.values(), strict=True)
    ]


def baseline_of(rows: Sequence[Row], wanted: str | None) -> Row:
    """Return the row that the others are held against, the first where none is named.

    Raises
    ------
    UsageError
        No row has the name or holds the folder.
    """
    if wanted is None:
        return rows[0]
    for row in rows:
        if wanted == row.name:
            return row
    resolved = Path(wanted).resolve()
    for row in rows:
        folders = [run.path for run in row.runs] + [Path(path) for path in row.given]
        if any(folder.resolve() == resolved for folder in folders):
            return row
    raise UsageError(
        f"--baseline {wanted}: expected one of {', '.join(row.name for row in rows)}"
        " or a folder that is compared",
        remedy=f"--baseline {rows[0].name}",
    )


@dataclass(slots=True)
class _Group:
    given_name: str
    runs: list[FinishedRun]
    paths: list[Path]

    def seeds(self) -> list[int]:
        return [run.settings.seed for run in self.runs]

    def add(self, run: FinishedRun, path: Path) -> None:
        self.runs.append(run)
        self.paths.append(path)

    def short_name(self) -> str:
        """Return what the names of the folders have in common, as ``ours`` of ``ours-seed0``."""
        names = list(dict.fromkeys(path.resolve().name for path in self.paths))
        if len(names) == 1:
            return names[0]
        # Characters of names are meant here, not parts of paths.
        begin = os.path.commonprefix(names).rstrip(_BETWEEN)  # noqa: RUF071
        begin = begin.removesuffix("seed").rstrip(_BETWEEN)
        return begin or names[0]


def _parse(argument: str) -> tuple[str, Path]:
    """Return the name that an argument gives, empty for none, and its folder."""
    name, sign, folder = argument.partition("=")
    if sign and name and folder and not Path(argument).exists():
        return name, Path(folder)
    return "", Path(argument)


def _names(groups: Sequence[_Group]) -> list[str]:
    """Return a name for each group, from its folders where the user gave none."""
    short = [group.given_name or group.short_name() for group in groups]
    if len(set(short)) == len(short):
        return short
    # Folders of one name are told apart by their paths below what all have in common.
    first = [group.runs[0].path.resolve() for group in groups]
    common = os.path.commonpath([path.parent for path in first])
    return [
        name if short.count(name) == 1 or group.given_name else str(path.relative_to(common))
        for name, group, path in zip(short, groups, first, strict=True)
    ]


def _setting_key(run: FinishedRun) -> str:
    """Return a text that is the same for runs whose settings differ in the seed alone.

    Where dataset and stores lie is no setting; which contents they have is.
    """
    settings: RunSettings = run.settings
    data = settings.data.model_copy(update={"dataset": "", "cache": None, "store": ()})
    alike = settings.model_copy(
        update={"data": data, "seed": 0, "checkpoint": CheckpointSettings()}
    )
    stores = sorted(
        f"{modality} {store['fingerprint']} {store['version']} {store.get('manifest')}"
        for modality, store in run.stores.items()
    )
    # What was judged again is no seed of what it is judged beside.
    evaluated = run.figures.get("evaluated", {}).get("sha256", "")
    return "\n".join([to_toml(alike), *stores, evaluated])
