"""What triggers wait for, told from one look at the dataset, its stores and its inbox.

A look reads a few small files and loads no NumPy. What a trigger has seen is a small JSON object
that is kept with it, so that a restart forgets nothing:

- ``seen``: what it last fired for, or what there was when it was made;
- ``now``: what the latest look showed, and ``since``: when that first looked so.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crossan.train.service.nights.datasets import DatasetPlace, dataset_at
from crossan.train.service.nights.inbox import log_of, row_count, stamp_of
from crossan.train.service.nights.inputs import log_read
from crossan.train.service.nights.stores import stores_of
from crossan.train.service.settings import ServiceSettings
from crossan.train.service.specs import TriggerSpec

__all__ = ["Look", "after_look", "first_state", "look_at", "why_due"]


@dataclass(frozen=True, slots=True)
class Look:
    """What a trigger waits for, at one moment."""

    shown: Any
    """JSON that is another once it has moved."""
    interactions: int = 0
    """Of the dataset, with the rows of the inbox that no update has read; for ``log``."""
    has_unknown_log: bool = False
    """Whether the inbox holds such rows in a file that only Arrow can count."""


def look_at(spec: TriggerSpec, settings: ServiceSettings, connection: sqlite3.Connection) -> Look:
    """Look at what a trigger waits for.

    Raises
    ------
    CrossanError
        The dataset or its inbox cannot be read.
    """
    dataset = dataset_at(spec.night.dataset, settings)
    if spec.kind == "store":
        versions = {
            one.fingerprint: [one.version, one.digest]
            for one in stores_of(settings, dataset.description.name)
            if spec.modality in {None, one.modality}
        }
        return Look(versions)
    return _look_at_log(spec, dataset, connection)


def first_state(spec: TriggerSpec, look: Look | None, now: float) -> dict[str, Any]:
    """Return the state of a trigger that was just made, for which nothing has moved yet."""
    if look is None:
        return {}
    state = {"seen": look.shown, "now": look.shown, "since": now}
    return state | ({"counted_from": look.interactions} if spec.kind == "log" else {})


def after_look(state: Mapping[str, Any], look: Look, now: float) -> dict[str, Any]:
    """Return a trigger's state after a look."""
    since = state.get("since", now)
    # A clock that was put back must not make a trigger wait for the day to pass again.
    if look.shown != state.get("now") or since > now:
        since = now
    return {**state, "now": look.shown, "since": since}


def why_due(
    spec: TriggerSpec, state: Mapping[str, Any], look: Look, quiet_seconds: float, now: float
) -> str | None:
    """Return why a trigger is to fire, None where it is not.

    Parameters
    ----------
    spec, state
        The trigger, and its state after the look.
    look
        What there is now.
    quiet_seconds
        For how long it must have stayed as it is.
    now
        Seconds since 1970.
    """
    if now - state["since"] < quiet_seconds or look.shown == state.get("seen"):
        return None
    if spec.kind == "store":
        return _moved(state.get("seen") or {}, look.shown)
    grown = look.interactions - state.get("counted_from", 0)
    assert spec.grown_by is not None
    if grown >= spec.grown_by:
        return f"{grown:,} more interactions"
    return "a new log lies in the inbox" if look.has_unknown_log else None


def _moved(seen: Mapping[str, Any], shown: Mapping[str, Any]) -> str | None:
    for fingerprint, (version, digest) in shown.items():
        if version and seen.get(fingerprint) != [version, digest]:
            return f"store {fingerprint[:12]} has version {version}"
    return None


def _look_at_log(spec: TriggerSpec, dataset: DatasetPlace, connection: sqlite3.Connection) -> Look:
    count = dataset.description.counts.get("interactions", 0)
    digest = dataset.description.digest
    log = log_of(dataset.inbox) if spec.night.update and dataset.inbox is not None else None
    if log is None:
        return Look([digest, None], count)
    stamp = stamp_of(log)
    if stamp == log_read(connection, dataset.name):
        return Look([digest, None], count)
    rows = row_count(log)
    return Look([digest, stamp], count + (rows or 0), has_unknown_log=rows is None)


def as_json(state: Mapping[str, Any]) -> str:
    """Return a state as the database keeps it."""
    return json.dumps(state, sort_keys=True)
