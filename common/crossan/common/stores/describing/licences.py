"""What the licences of model and data let one do with a store."""

from __future__ import annotations

from pathlib import Path

from crossan.common.files import read_regular
from crossan.common.stores.segments import read_record
from crossan.common.stores.versions import read_version

__all__ = ["forbids_redistribution", "licences_of", "restrictions"]

_PERMISSIVE = (
    "apache-2.0",
    "mit",
    "bsd-2-clause",
    "bsd-3-clause",
    "cc0-1.0",
    "cc-by-4.0",
    "cc-by-sa-4.0",
)
_REASONS = (
    ("cc-by-nc", "it allows no commercial use, and who pulls it must know"),
    ("redistribut", "it restricts redistribution"),
    ("research", "it restricts who may use it"),
)


def forbids_redistribution(licence: str | None) -> str | None:
    """Return why a licence forbids passing features on, None for the permissive ones.

    Parameters
    ----------
    licence
        SPDX name, or the note of a data set; None where it is not known.
    """
    if licence is None or licence.lower().startswith("unknown"):
        return "the licence is not known"
    text = licence.lower()
    if text in _PERMISSIVE or "(cc0-1.0)" in text:
        return None
    return next(
        (reason for word, reason in _REASONS if word in text),
        "it is none of the licences that are known to allow it",
    )


def licences_of(path: Path) -> dict[str, str | None]:
    """Return the licences of backbone and data that the newest version records.

    A licence that no producer recorded is None.
    """
    licences: dict[str, str | None] = {"backbone": None, "data": None}
    # Oldest segment first, so the latest word on each licence stays.
    for producer in producers_of(path):
        for name in licences:
            licence = producer.get(f"{name}_licence")
            if licence:
                licences[name] = str(licence)
    return licences


def producers_of(path: Path) -> list[dict[str, object]]:
    """Return the producer record of each segment of the newest version, oldest first."""
    segments = read_version(path).segments
    return [
        dict(read_record(lambda key: read_regular(path, key), entry, str(path)).producer)
        for entry in segments
    ]


def restrictions(path: Path) -> list[str]:
    """Return one line for each licence that keeps a store from being published."""
    lines = []
    for name, licence in licences_of(path).items():
        reason = forbids_redistribution(licence)
        if reason is not None:
            lines.append(f"{name} licence {licence or 'not recorded'}: {reason}")
    return lines
