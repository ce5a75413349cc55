"""The backbones that a run trains, and the contents of its items, as its folder records them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from crossan.cache_schema.errors import IncompatibleError
from crossan.common.files import replace_durably
from crossan.train.record.shapes import read_record

__all__ = ["recorded_backbones", "require_same_backbones", "settle_backbones"]

_FILE = "backbones.lock.json"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="allow")
    backbone: dict[str, Any]
    inputs: str
    contents: str


class _Lock(BaseModel):
    model_config = ConfigDict(extra="allow")
    backbones: dict[str, _Entry]


def settle_backbones(
    folder: Path, entries: Mapping[str, Mapping[str, Any]], remedy: str, *, may_be_stale: bool
) -> None:
    """Record the backbones of a run, or compare them with those that are recorded.

    Parameters
    ----------
    folder
        The run folder.
    entries
        What is recorded, by modality; none of a run that trains no backbone.
    remedy
        What the user can do where they differ.
    may_be_stale
        Whether items may have other contents than before.

    Raises
    ------
    IncompatibleError
        The run was begun from other weights, other inputs or other contents.
    """
    if not entries:
        return
    if (folder / _FILE).is_file():
        require_same_backbones(folder, entries, remedy)
        recorded = read_record(folder / _FILE, _Lock)["backbones"]
        changed = [
            name for name in entries if recorded[name]["contents"] != entries[name]["contents"]
        ]
        if changed and not may_be_stale:
            raise IncompatibleError(
                f"--resume {folder}: the run was begun on other contents of {', '.join(changed)}",
                remedy=f"{remedy}  (or --allow-stale)",
            )
        return
    data = json.dumps({"backbones": entries}, indent=2) + "\n"
    replace_durably(folder / _FILE, data.encode())


def recorded_backbones(folder: Path) -> dict[str, str]:
    """Return the names of the backbones that a run was begun from, by modality; none of others.

    Raises
    ------
    StoreIntegrityError
        The record is damaged.
    """
    recorded = (read_record(folder / _FILE, _Lock) or {"backbones": {}})["backbones"]
    return {name: str(entry["backbone"].get("id")) for name, entry in recorded.items()}


def require_same_backbones(
    folder: Path, entries: Mapping[str, Mapping[str, Any]], remedy: str
) -> None:
    """Compare backbones with those that a run recorded, whatever its items contain now.

    Raises
    ------
    IncompatibleError
        They have other weights or read other inputs, or the run recorded none.
    """
    recorded = (read_record(folder / _FILE, _Lock) or {"backbones": {}})["backbones"]
    odd = [
        name
        for name in sorted(recorded.keys() | entries.keys())
        if any(
            recorded.get(name, {}).get(part) != entries.get(name, {}).get(part)
            for part in ("backbone", "inputs")
        )
    ]
    if odd:
        raise IncompatibleError(
            f"{folder}: expected the backbones that the run was begun from, found others of"
            f" {', '.join(odd)}",
            remedy=remedy,
        )
