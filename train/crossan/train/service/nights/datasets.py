"""The datasets that clients may name, and where each of them lies.

A name becomes a path in this file alone. It has neither a dot nor a slash, and the folder that it
leads to must lie below one of the operator's roots once all symbolic links are followed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from crossan.cache_schema.errors import CrossanError, UsageError
from crossan.common.config import nearest
from crossan.common.datasets.description import Description, read_description
from crossan.train.service.settings import ServiceSettings

__all__ = ["DatasetPlace", "dataset_at", "dataset_names", "places"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""As `crossan.train.service.specs.Name`."""
_DESCRIPTION = "dataset.json"


@dataclass(frozen=True, slots=True)
class DatasetPlace:
    """A dataset that clients may name."""

    name: str
    """Name of its folder, by which specs name it."""

    path: Path
    """The folder, absolute and without symbolic links."""

    description: Description
    """What its ``dataset.json`` says now."""

    inbox: Path | None
    """Folder that ``data update`` reads, None where the operator has none for it."""


def dataset_names(settings: ServiceSettings) -> list[str]:
    """Return the names of all dataset folders below the roots, sorted.

    Folders whose names no spec can hold are left out, and so are those that a symbolic link would
    lead out of their root.
    """
    return sorted({name for root in _roots(settings) for name in _names_below(root)})


def places(settings: ServiceSettings) -> dict[str, DatasetPlace]:
    """Return every dataset that can be read, by its name.

    One that is damaged, or whose name two roots have, is left out: `dataset_at` says why.
    """
    readable = {}
    for name in dataset_names(settings):
        try:
            readable[name] = dataset_at(name, settings)
        except CrossanError:
            continue
    return readable


def dataset_at(name: str, settings: ServiceSettings) -> DatasetPlace:
    """Return the dataset of a name.

    Raises
    ------
    UsageError
        There is none of this name below the roots, or there are several.
    DataError, ResourceError
        Its ``dataset.json`` cannot be read.
    """
    folders = [folder for root in _roots(settings) if (folder := _folder(root, name))]
    if not folders:
        known = dataset_names(settings)
        close = nearest(name, known)
        hint = f"; did you mean '{close}'?" if close else ""
        raise UsageError(
            f"dataset {name!r:.80}: no dataset folder of this name below the roots of the"
            f" service{hint}",
            remedy="Ask for the names: GET /v1/datasets",
        )
    if len(set(folders)) > 1:
        raise UsageError(
            f"dataset {name}: expected one folder of this name below the roots of the service,"
            f" found {len(folders)}",
            remedy="Give the folders different names",
        )
    try:
        description = read_description(folders[0] / _DESCRIPTION)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"dataset {name}: its {_DESCRIPTION} went away while it was read",
            remedy="Ask for the names: GET /v1/datasets",
        ) from None
    return DatasetPlace(name, folders[0], description, _inbox(name, settings))


def _roots(settings: ServiceSettings) -> list[Path]:
    return list(dict.fromkeys(Path(root).expanduser().resolve() for root in settings.roots))


def _names_below(root: Path) -> list[str]:
    try:
        names = [path.name for path in root.iterdir()]
    except OSError:
        return []  # a root that is not mounted now holds nothing now
    return [name for name in names if _folder(root, name)]


def _folder(root: Path, name: str) -> Path | None:
    """Return the dataset folder of a name below a root, None where there is none inside it."""
    if not _NAME.fullmatch(name):
        return None
    folder = _inside(root, name)
    return folder if folder is not None and (folder / _DESCRIPTION).is_file() else None


def _inbox(name: str, settings: ServiceSettings) -> Path | None:
    if settings.inbox is None:
        return None
    folder = _inside(Path(settings.inbox).expanduser().resolve(), name)
    return folder if folder is not None and folder.is_dir() else None


def _inside(root: Path, name: str) -> Path | None:
    """Return where a name in a folder leads, None where that is outside the folder."""
    try:
        folder = (root / name).resolve()
    except (OSError, RuntimeError):  # links that go round in a circle
        return None
    return folder if folder != root and folder.is_relative_to(root) else None
