"""The result of a job, and whether too many items are bad."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import DataError
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.extract.job.quarantine import QUARANTINE_FILE, split_reason
from crossan.extract.job.spread import Spread

__all__ = ["JobResult", "Outlook", "check_bad_share", "count_statuses"]

_REASONS_SHOWN = 5
_SHOWN_STATUSES = tuple(status for status in ItemStatus if status is not ItemStatus.DELETED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a dry run finds left to do."""

    to_forward: int
    """Items that would go through the backbone."""
    estimated_bytes: int
    """Space that their features would take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """One modality's store after the job, counted over the dataset's items."""

    modality: Modality
    store: Path
    version: int
    """0 where nothing was published yet."""
    fingerprint: str
    item_count: int
    statuses: Counter[str]
    reasons: Counter[str]
    """Typed reasons of the quarantined items."""
    forwarded: int
    """Items that this job sent through the backbone."""
    seconds: float
    """Wall time, without the loading of the backbone."""
    replaced: int = 0
    """Items whose rows were made from another title or file, or will be in a dry run."""
    report: Path | None = None
    """Where the job's report lies; None for a dry run."""
    outlook: Outlook | None = None
    """Of a dry run; None for a job."""
    spread: Spread | None = None
    """How much the layers differ between the items that this job forwarded; None for none."""

    @property
    def bad_count(self) -> int:
        """Items missing or quarantined."""
        return self.statuses[ItemStatus.MISSING] + self.statuses[ItemStatus.QUARANTINED]

    def to_dict(self) -> dict[str, Any]:
        """Return the object promised under ``stores`` by ``--json``."""
        report: dict[str, Any] = {
            "modality": self.modality.value,
            "store": str(self.store),
            "version": self.version,
            "fingerprint": self.fingerprint,
        }
        report |= {status.value: self.statuses[status] for status in _SHOWN_STATUSES}
        report |= {"forwarded": self.forwarded, "replaced": self.replaced}
        report["seconds"] = round(self.seconds, 3)
        if self.report is not None:
            report["report"] = str(self.report)
        if self.outlook is not None:
            report["dry_run"] = True
            report["to_forward"] = self.outlook.to_forward
            report["estimated_bytes"] = self.outlook.estimated_bytes
        if self.spread is not None:
            deviation = {str(layer): value for layer, value in self.spread.deviation.items()}
            report["spread"] = {"items": self.spread.items, "deviation": deviation}
        return report

    def to_text(self) -> str:
        """Return the same for people, one to three lines."""
        counts = ", ".join(
            f"{self.statuses[status]:,} {status.value}" for status in _SHOWN_STATUSES
        )
        replaced = f", rows replaced {self.replaced:,}" if self.replaced else ""
        if self.outlook is not None:
            size = f"{self.outlook.estimated_bytes / 1e6:,.1f} MB"
            return (
                f"{self.modality.value}: {self.item_count:,} items, recorded {counts}; "
                f"to forward {self.outlook.to_forward:,}{replaced}, about {size} in {self.store}"
            )
        never = self.item_count - sum(self.statuses.values())
        rest = f", {never:,} not extracted yet" if never else ""
        return (
            f"{self.modality.value}: {counts}{rest}; "
            f"forwarded {self.forwarded:,}{replaced} in {self.seconds:.1f} s\n"
            f"  {self.store} version {self.version}"
            + (f"\n  {self.spread.to_text()}" if self.spread and self.spread.items > 1 else "")
        )

    def warnings(self) -> list[str]:
        """Return what people should know before they train on the store."""
        flat = () if self.spread is None else self.spread.nearly_flat_layers
        if not flat:
            return []
        named = f"layer{'s' if len(flat) > 1 else ''} {', '.join(map(str, flat))}"
        warning = (
            f"warning: {self.modality.value}, {named}: nearly the same for every item, so that there"
            " is little to learn from. With --pooling cls that is usual below the top, and"
            " --pooling mean gives states that differ"
        )
        return [warning]


def count_statuses(
    item_ids: Iterable[str],
    statuses: Iterable[str],
    reasons: Iterable[str | None],
    counted_ids: set[str],
) -> tuple[Counter[str], Counter[str]]:
    """Count the statuses of some items of a store, and the typed reasons of the quarantined ones.

    Parameters
    ----------
    item_ids, statuses, reasons
        Of the store, in one order.
    counted_ids
        Items to count; a store may hold others, which the dataset no longer has.
    """
    by_status: Counter[str] = Counter()
    by_reason: Counter[str] = Counter()
    for item_id, status, reason in zip(item_ids, statuses, reasons, strict=True):
        if str(item_id) in counted_ids:
            by_status[str(status)] += 1
            if status == ItemStatus.QUARANTINED:
                by_reason[split_reason(reason)[0]] += 1
    return by_status, by_reason


def check_bad_share(results: Sequence[JobResult], allowed: float) -> None:
    """Refuse results with more missing or quarantined items than allowed.

    Parameters
    ----------
    allowed
        Fraction of all items of the dataset, whatever part of them this job did.

    Raises
    ------
    DataError
        For every modality above the share, with the counts and the reasons.
    """
    over = [result for result in results if result.bad_count > allowed * result.item_count]
    if not over:
        return
    lines = [
        f"more items are bad than --max-bad {100 * allowed:g}% allows; what was done is kept",
        *map(_describe_bad, over),
    ]
    raise DataError(
        "\n  ".join(lines),
        remedy=f"Mend what {over[0].store / QUARANTINE_FILE} and `crossan data check` name, "
        "then run the same command again, or allow a larger --max-bad",
    )


def _describe_bad(result: JobResult) -> str:
    share = 100 * result.bad_count / result.item_count
    reasons = ", ".join(
        f"{reason} {count:,}" for reason, count in sorted(result.reasons.items())[:_REASONS_SHOWN]
    )
    missing = result.statuses[ItemStatus.MISSING]
    quarantined = result.statuses[ItemStatus.QUARANTINED]
    text = (
        f"{result.modality.value}: "
        f"{result.bad_count:,} of {result.item_count:,} items ({share:.2f}%): "
        f"{missing:,} missing, {quarantined:,} quarantined"
    )
    return f"{text} ({reasons})" if reasons else text
