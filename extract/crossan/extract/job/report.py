"""Write ``report.json``, which tells people and dashboards what a job did.

It says how fast each stage was and what went wrong.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crossan.cache_schema.canonical import pretty_bytes
from crossan.cache_schema.modality import ItemStatus
from crossan.common.files import replace_durably
from crossan.common.stores import ItemRow
from crossan.extract.job.plan import Shard
from crossan.extract.job.quarantine import split_reason

__all__ = ["Tally", "gather_reports", "report_file", "write_report"]

_THE_SAME_IN_ALL = ("crossan", "modality", "store", "batch_size")
_SUMMED = ("items", "failures", "notes")
_OF_A_TASK = (
    "shard",
    "seconds",
    "batch_size",
    "part_size",
    "forward_passes",
    "workers",
    "bottleneck",
    "device_rate_reached",
    "stages",
)


@dataclass(eq=False)
class Tally:
    """Counts of the items that one job did, of one modality."""

    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    """Typed reasons of the quarantined items."""
    forwarded: int = 0
    """Items that went through the backbone."""

    @property
    def done(self) -> int:
        """Items of any status."""
        return self.statuses.total()

    def add(self, rows: list[ItemRow], forwarded: int) -> None:
        """Count a batch that has been journaled."""
        self.forwarded += forwarded
        for row in rows:
            self.statuses[row.status.value] += 1
            if row.status is ItemStatus.QUARANTINED:
                self.reasons[split_reason(row.reason)[0]] += 1


def report_file(folder: Path, shard: Shard) -> Path:
    """Return the path of a job's report, which lies beside the store's segments."""
    # One file per shard, because the jobs of several shards write at the same time.
    name = "report.json" if shard.count == 1 else f"report.{shard.number}-of-{shard.count}.json"
    return folder / name


def gather_reports(parts: Sequence[Path], seconds: float) -> Path:
    """Make one ``report.json`` of the reports of a job's tasks and return its path.

    The reports of the tasks are deleted.

    Parameters
    ----------
    parts
        Reports of shards in one store, at least one.
    seconds
        How long the whole took, on the clock.
    """
    reports = [json.loads(part.read_bytes()) for part in parts]
    whole: dict[str, Any] = {name: reports[0][name] for name in _THE_SAME_IN_ALL}
    whole["version"] = max(report["version"] for report in reports)
    whole["seconds"] = round(seconds, 3)
    whole["forward_passes"] = sum(report["forward_passes"] for report in reports)
    for name in _SUMMED:
        # A sum of Counters, which leaves out what is zero in all.
        whole[name] = dict(sum((Counter(report[name]) for report in reports), Counter[str]()))
    whole["tasks"] = [{name: report[name] for name in _OF_A_TASK} for report in reports]
    target = report_file(parts[0].parent, Shard())
    write_report(target, whole)
    # The last, so that a kill before it loses no number. One task has the name of the whole.
    for part in set(parts) - {target}:
        part.unlink()
    return target


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report over that of the job before, in one step."""
    replace_durably(path, pretty_bytes(dict(report)))
