"""What the licences of model and data let one do with a store."""

from __future__ import annotations

from pathlib import Path

from crossan.common.files import read_regular
from crossan.common.stores.provenance import origins_of
from crossan.common.stores.segments import read_record
from crossan.common.stores.versions import read_version

__all__ = ["forbids_redistribution", "licences_of", "restrictions"]

_BETWEEN = "; "
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
        SPDX name, or the note of a data set; None where it is not known. Several,
        with ``"; "`` between them, forbid what any of them forbids.
    """
    for one in (licence or "").split(_BETWEEN):
        reason = _reason(one or None)
        if reason is not None:
            return reason
    return None


def _reason(licence: str | None) -> str | None:
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

    Where several are recorded, all are named, with ``"; "`` between them. A licence
    that no producer recorded is None.
    """
    recorded: dict[str, dict[str, None]] = {"backbone": {}, "data": {}}
    for producer in producers_of(path):
        for name, licences in recorded.items():
            licence = producer.get(f"{name}_licence")
            if licence:
                licences[str(licence)] = None
    return {name: _BETWEEN.join(licences) or None for name, licences in recorded.items()}


def producers_of(path: Path) -> list[dict[str, object]]:
    """Return who made the rows of the newest version, oldest segment first."""
    return [
        origin
        for entry in read_version(path).segments
        for origin in origins_of(
            read_record(lambda key: read_regular(path, key), entry, str(path)).producer
        )
    ]


def restrictions(path: Path) -> list[str]:
    """Return one line for each licence that keeps a store from being published."""
    lines = []
    for name, licence in licences_of(path).items():
        reason = forbids_redistribution(licence)
        if reason is not None:
            lines.append(f"{name} licence {licence or 'not recorded'}: {reason}")
    return lines
