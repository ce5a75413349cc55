"""The head of the page: what this is about, and four figures to begin with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from crossan.train.report.gathering import Entry, SweepFacts
from crossan.train.report.headline import figures_text, interval_of

__all__ = ["Tile", "summary"]


class Tile(NamedTuple):
    """A figure with a word on it."""

    name: str
    value: str
    detail: str = ""


def summary(entries: Sequence[Entry], sweeps: Sequence[SweepFacts]) -> dict[str, Any]:
    """Return title, description and tiles of the page."""
    names = list(dict.fromkeys(entry.label for entry in entries))
    title = ", ".join(sweep.name for sweep in sweeps) if sweeps else " and ".join(names[:2])
    if not sweeps and len(names) > 2:
        title = f"{names[0]} and {len(names) - 1} others"
    leader = _leader(entries)
    return {
        "title": title,
        "subtitle": _subtitle(entries, sweeps),
        "tiles": _tiles(leader),
        "tiles_of": leader.full_label if len(entries) > 1 else "",
    }


def _leader(entries: Sequence[Entry]) -> Entry:
    """Return the entry with the best validation, which alone may choose."""
    return max(entries, key=lambda entry: entry.mean("valid", "hr@10") or 0.0)


def _subtitle(entries: Sequence[Entry], sweeps: Sequence[SweepFacts]) -> str:
    models = list(dict.fromkeys(entry.model for entry in entries))
    runs = sum(len(entry.runs) for entry in entries)
    figures = entries[0].runs[0].figures
    parts = [f"{runs} runs of {', '.join(models)}" if runs > 1 else _over(entries[0])]
    if sweeps:
        tried = sum(len(sweep.selection["settings"]) for sweep in sweeps)
        parts = [f"{tried} settings tried", *parts]
    if "users" in figures and "items" in figures:
        parts.append(f"{figures['users']:,} users and {figures['items']:,} items")
    seed = figures.get("split_seed")
    split = figures.get("split", "leave-last-out")
    parts.append(f"split {split}" + ("" if seed is None else f" with seed {seed}"))
    if figures.get("mask_history") is not None:
        parts.append(f"history masked: {figures['mask_history']}")
    return "; ".join(parts)


def _over(entry: Entry) -> str:
    modalities = list(entry.runs[0].stores)
    return entry.model + (f" over {', '.join(modalities)}" if modalities else "")


def _tiles(entry: Entry) -> list[Tile]:
    figures = entry.runs[0].figures
    if not entry.is_tested:
        valid = ("hr@10", "ndcg@10", "hr@20", "ndcg@20")
        return [Tile(f"valid {m.upper()}", figures_text(entry.mean("valid", m))) for m in valid]
    tiles = []
    for name, metric in (("hr@10", "hr"), ("ndcg@10", "ndcg")):
        interval = interval_of(entry, metric, 10)
        detail = "" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"
        tiles.append(Tile(f"test {name.upper()}", figures_text(entry.mean("test", name)), detail))
    cold, of_valid = figures["cold_test"], entry.cold_validation()
    beside = "" if of_valid is None else f"; validation {of_valid:.4f}"
    tiles.append(
        Tile(
            "cold HR@10",
            figures_text(entry.mean("cold_test", "hr@10")),
            f"{cold['targets']:,} targets{beside}",
        )
    )
    baseline = figures["popularity"]["test"]["hr@10"]
    mean = entry.mean("test", "hr@10")
    if baseline and mean is not None:
        tiles.append(
            Tile("over popularity", f"{mean / baseline:.1f}\u00d7", f"popularity {baseline:.4f}")
        )
    return tiles
