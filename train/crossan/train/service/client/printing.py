"""Rows of the server as tables and fields for people."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from crossan.common.console import Column, print_fields, print_table
from crossan.train.service.web.pages.words import ago, figure, flat, length

__all__ = ["print_night", "print_nights", "print_run", "print_runs", "print_settings", "when"]


def when(text: str | None, otherwise: str = "-") -> str:
    """Return a time of the server in words.

    Parameters
    ----------
    text
        RFC 3339, or None.
    otherwise
        What stands for None.
    """
    return otherwise if text is None else ago(_seconds(text), time.time())


def print_runs(runs: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of runs."""
    print_table(
        [
            Column("run", is_number=True),
            Column("state", is_whole=True),
            Column("step", is_whole=True),
            Column("dataset"),
            Column("label"),
            Column("by"),
            Column("took", is_number=True),
            Column("submitted", is_number=True),
        ],
        [
            [
                str(run["id"]),
                run["state"],
                run["step"] if not run["night_id"] else f"{run['step']} of night {run['night_id']}",
                run["dataset"],
                run["label"],
                run["submitted_by"],
                _took(run),
                when(run["created"]),
            ]
            for run in runs
        ],
    )


def print_run(run: Mapping[str, Any]) -> None:
    """Print one run: how it is, what it measured and what was asked for."""
    limits = run["limits"]
    may_use = (
        f"{limits['cpus']} cores, {limits['memory_gib']:g} GiB, {limits['gpus']} GPUs,"
        f" {limits['hours']:g} h"
    )
    fields = [
        ("run", str(run["id"])),
        ("state", run["state"]),
        ("reason", run["reason"]),
        ("step", run["step"]),
        ("dataset", run["dataset"]),
        ("label", run["label"]),
        ("night", _number(run["night_id"])),
        ("needs", _number(run["needs"], "run ")),
        ("about", _number(run["about"], "run ")),
        ("submitted", f"{when(run['created'])} by {run['submitted_by']}"),
        ("started", when(run["started"], "not yet")),
        ("took", _took(run)),
        ("attempt", str(run["attempt"])),
        ("exit code", _number(run["exit_code"])),
        ("may use", may_use),
    ]
    print_fields([(name, value) for name, value in fields if value])
    print_settings("result", run["result"] or {})
    print_settings("spec", {**run["spec"], "limits": None})


def print_nights(nights: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of nights, what each did in one line."""
    print_table(
        [
            Column("night", is_number=True),
            Column("state", is_whole=True),
            Column("dataset"),
            Column("began", is_number=True),
            Column("what it did"),
        ],
        [
            [
                str(night["id"]),
                night["state"],
                night["dataset"],
                when(night["created"]),
                night["summary"] or night["reason"],
            ]
            for night in nights
        ],
    )


def print_night(night: Mapping[str, Any]) -> None:
    """Print one night, with its steps."""
    fields = [
        ("night", str(night["id"])),
        ("state", night["state"]),
        ("did", night["summary"]),
        ("dataset", night["dataset"]),
        ("reason", night["reason"]),
        ("began", f"{when(night['created'])} by {night['created_by']}"),
        ("ended", when(night["ended"], "not yet")),
    ]
    print_fields([(name, value) for name, value in fields if value])
    print_table(
        [
            Column("run", is_number=True),
            Column("step", is_whole=True),
            Column("state", is_whole=True),
            Column("took", is_number=True),
            Column("reason"),
        ],
        [
            [
                str(run["id"]),
                run["step"],
                run["state"],
                _took(run),
                run["reason"].partition("\n")[0],
            ]
            for run in night.get("runs", ())
        ],
    )


def print_settings(title: str, values: Mapping[str, Any]) -> None:
    """Print nested values under a title, one to a line, without those that are empty."""
    pairs = flat(values)
    if pairs:
        print_table([Column("name", is_whole=True), Column("value")], pairs, title=f"\n{title}")


def _took(run: Mapping[str, Any]) -> str:
    if run["started"] is None:
        return "-"
    end = time.time() if run["ended"] is None else _seconds(run["ended"])
    return length(end - _seconds(run["started"]))


def _number(value: int | None, prefix: str = "") -> str:
    return "" if value is None else f"{prefix}{figure(value)}"


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
