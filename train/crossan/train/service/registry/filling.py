"""The files of a version, before it has a number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crossan.cache_schema.canonical import pretty_bytes
from crossan.common.files import fsync_folder, write_durably
from crossan.train.service.queue.rows import RunRow
from crossan.train.service.registry.card import (
    card_of,
    require_recorded_weights,
    require_sound,
    require_sound_weights,
)
from crossan.train.service.registry.copying import copy_run, make_read_only
from crossan.train.service.registry.rows import REFIT_FOLDER

__all__ = ["fill_version"]


def fill_version(incoming: Path, judged: Path, served: Path | None, run: RunRow) -> dict[str, Any]:
    """Copy a version's files, check the copies, and return its card.

    Parameters
    ----------
    incoming
        Folder of the version to be, not there yet; read-only in the end.
    judged, served, run
        As for `Registry.register`.

    Raises
    ------
    UsageError
        The run is not finished.
    StoreIntegrityError
        A figure or a weight is NaN, or a file is damaged.
    ResourceError
        The disk is full, or the system refuses.
    """
    sha256: dict[str, str] = {}
    copies = {"judged": judged}
    if served is not None:
        # Inside the run that judges it, as it was: a refit knows its figures' run by that.
        copies[f"judged/{REFIT_FOLDER}"] = served
    for name, source in copies.items():
        digests = copy_run(source, incoming / name)
        require_sound_weights(incoming / name)
        require_recorded_weights(incoming / name, digests)
        sha256 |= {f"{name}/{path}": digest for path, digest in digests.items()}
    figures = require_sound(incoming / "judged")
    refitted = None if served is None else incoming / "judged" / REFIT_FOLDER
    card = card_of(run, incoming / "judged", refitted, figures, sha256)
    write_durably(incoming / "card.json", pretty_bytes(card))
    make_read_only(incoming)
    fsync_folder(incoming)
    return card
