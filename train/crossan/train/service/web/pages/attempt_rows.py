"""The attempts at a run as rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["AttemptRow", "read_attempts"]


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One try at a run."""

    number: int
    executor: str
    devices: tuple[int, ...]
    started: float
    ended: float | None
    outcome: Mapping[str, Any] | None
    """How it ended, as ``outcome.json`` says; None while it goes on."""


def read_attempts(connection: sqlite3.Connection, run_id: int) -> list[AttemptRow]:
    """Return the attempts at a run, the first one first."""
    rows = connection.execute("SELECT * FROM attempts WHERE run_id = ? ORDER BY number", (run_id,))
    return [
        AttemptRow(
            number=row["number"],
            executor=row["executor"],
            devices=tuple(json.loads(row["devices"])),
            started=row["started"],
            ended=row["ended"],
            outcome=_outcome(row["outcome"]),
        )
        for row in rows
    ]


def _outcome(text: str | None) -> Mapping[str, Any] | None:
    """Return an outcome that is written as an object, or as the reason alone."""
    if text is None:
        return None
    try:
        outcome = json.loads(text)
    except json.JSONDecodeError:
        return {"reason": text}
    return outcome if isinstance(outcome, dict) else {"reason": str(outcome)}
