"""Test metrics of parts of the users, as dots, with differences in view."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.train.evaluation.slices import history_bins
from crossan.train.record.user_ranks import UserRanks
from crossan.train.report.blocks import Block, Cell, Figures, Note, Section, Table
from crossan.train.report.figures import Figure, Numbers, figure
from crossan.train.report.gathering import Entry
from crossan.train.report.headline import figures_text
from crossan.train.report.plots import Measured, Series, draw_parts, legend_height

__all__ = ["slices_section", "wilson_interval"]

_Z = 1.959963984540054
"""Standard deviations that 95 % of a normal distribution lie within."""
_TOP = 10
_SLICES: Mapping[str, tuple[str, str, str]] = {
    "target": ("Cold and warm targets", "target", "kind"),
    "target_popularity_decile": (
        "Popularity of the target",
        "decile of the catalogue, 10 the most popular",
        "popularity",
    ),
    "history_length": ("Length of the history", "kept items before the target", "history"),
}
"""Title, axis and short name of the slices of ``result.json``."""
_PARTS: Mapping[str, Callable[[UserRanks], npt.NDArray[np.str_]]] = {
    "target": lambda ranks: np.where(ranks.is_cold, "cold", "warm"),
    "target_popularity_decile": lambda ranks: ranks.popularity_deciles.astype(str),
    "history_length": lambda ranks: np.repeat(
        np.array(history_bins(ranks.history_lengths), dtype=str), np.diff(ranks.offsets)
    ),
}
"""The part that each target belongs to, ``(targets,)``, by `UserRanks`."""
_MOST_DRAWN = 8


def slices_section(entries: Sequence[Entry]) -> Section | None:
    """Return the slices of all entries, None where no test target was looked at."""
    tested = [entry for entry in entries if entry.is_tested]
    if not tested:
        return None
    drawn = tested[:_MOST_DRAWN]
    figures, differences, tables = [], [], []
    for key, (title, along, name) in _SLICES.items():
        parts = _parts_of(tested, key)
        figures.append(_values_figure(drawn, key, parts, title, along, name))
        if len(drawn) > 1:
            differences += _differences(drawn, key, parts, title, along, name)
        tables.append(_table(tested, key, parts, title))
    blocks: list[Block] = [Figures(figures)]
    blocks += [Figures(differences)] if differences else []
    blocks += tables
    if len(tested) > len(drawn):
        left = len(tested) - len(drawn)
        blocks.insert(1, Note(f"Drawn: the first {len(drawn)} runs; the tables have {left} more."))
    return Section("slices", "Parts of the test users", blocks, _LEAD)


_LEAD = (
    "Test HR@10 where the target is cold or warm, rare or popular, and after short and long"
    " histories. Lines: 95 % intervals (Wilson's; of differences, the normal one over paired"
    " targets). Parts of few users say little."
)


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    r"""Return the 95 % interval of a share among ``count`` users.

    .. math:: \frac{\hat p + z^2 / 2n \pm z \sqrt{\hat p (1 - \hat p) / n + z^2 / 4n^2}}
       {1 + z^2 / n}

    It stays within 0 and 1 and says something where no user is hit, too. Wilson,
    Probable Inference, the Law of Succession, and Statistical Inference (1927).
    """
    share = min(max(share, 0.0), 1.0)
    squared = _Z * _Z / count
    middle = (share + squared / 2) / (1 + squared)
    half = _Z * math.sqrt(share * (1 - share) / count + squared / (4 * count)) / (1 + squared)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _parts_of(entries: Sequence[Entry], key: str) -> list[str]:
    """Return the parts in the order of the first entry, then what only others have."""
    return list(
        dict.fromkeys(
            part for entry in entries for run in entry.runs for part in run.figures["slices"][key]
        )
    )


def _of_part(entry: Entry, key: str, part: str) -> list[Mapping[str, Any]]:
    slices = [run.figures["slices"][key].get(part) for run in entry.runs]
    return [one for one in slices if one is not None]


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    return sum(row[name] for row in rows) / len(rows) if rows else None


def _measured(entry: Entry, key: str, part: str) -> Measured | None:
    rows = _of_part(entry, key, part)
    share, count = _mean(rows, "hr@10"), _mean(rows, "users")
    if share is None or not count:
        return None
    return Measured(share, *wilson_interval(share, round(count)))


def _values_figure(
    entries: Sequence[Entry], key: str, parts: Sequence[str], title: str, along: str, name: str
) -> Figure:
    series = [
        Series(entry.short_label, [_measured(entry, key, part) for part in parts], entry.style)
        for entry in entries
    ]
    return _parts_figure(f"slice-{name}", title, parts, series, "test HR@10", along)


def _differences(
    entries: Sequence[Entry], key: str, parts: Sequence[str], title: str, along: str, name: str
) -> list[Figure]:
    """Return the paired differences to the first entry, none where users differ."""
    base = entries[0]
    reference = base.runs[0].ranks
    base_hits = _target_hits(base)
    if reference is None or base_hits is None:
        return []
    part_of = _PARTS[key](reference)
    series = []
    for entry in entries[1:]:
        ranks, hits = entry.runs[0].ranks, _target_hits(entry)
        if ranks is None or hits is None or not np.array_equal(ranks.user_ids, reference.user_ids):
            continue
        differences = hits - base_hits
        measured = [_paired(differences[part_of == part]) for part in parts]
        series.append(Series(entry.short_label, measured, entry.style))
    if not series:
        return []
    return [
        _parts_figure(
            f"slice-{name}-difference",
            f"{title}: less {base.label}",
            parts,
            series,
            "difference of HR@10",
            along,
            from_zero=False,
        )
    ]


def _target_hits(entry: Entry) -> npt.NDArray[np.float64] | None:
    """Return how often each target is within the top ten, over the runs, ``(targets,)``."""
    ranks = [run.ranks.ranks for run in entry.runs if run.ranks is not None]
    if len(ranks) < len(entry.runs) or len({len(one) for one in ranks}) > 1:
        return None
    mean: npt.NDArray[np.float64] = np.mean([one <= _TOP for one in ranks], axis=0)
    return mean


def _paired(differences: npt.NDArray[np.float64]) -> Measured | None:
    if len(differences) == 0:
        return None
    mean = float(differences.mean())
    if len(differences) == 1:
        return Measured(mean)
    half = _Z * float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return Measured(mean, mean - half, mean + half)


def _parts_figure(
    name: str,
    title: str,
    parts: Sequence[str],
    series: Sequence[Series],
    what: str,
    along: str,
    *,
    from_zero: bool = True,
) -> Figure:
    rows = [
        (one.label, part, m.value, m.low, m.high)
        for one in series
        for part, m in zip(parts, one.values, strict=True)
        if m is not None
    ]
    return figure(
        name,
        title,
        Numbers(("run", along, what, "low", "high"), rows),
        lambda canvas: draw_parts(canvas, parts, series, what, along=along, from_zero=from_zero),
        size=(4.1, 2.5 + legend_height(len(series))),
        alt=f"{title}: {what} by {along} of {', '.join(one.label for one in series)}",
    )


def _table(entries: Sequence[Entry], key: str, parts: Sequence[str], title: str) -> Table:
    shown = ("hr@10", "ndcg@10", "hr@20", "ndcg@20", "mrr@10")
    rows = []
    for part in parts:
        for entry in entries:
            figures = _of_part(entry, key, part)
            if not figures:
                continue
            cells = [Cell(figures_text(_mean(figures, name))) for name in shown]
            users = f"{round(_mean(figures, 'users') or 0):,}"
            rows.append([Cell(part), Cell(entry.full_label), Cell(users), *cells])
    columns = ("part", "run", "users", *(name.upper() for name in shown))
    return Table(f"Table: {title}", columns, rows, texts=frozenset({0, 1}), is_folded=True)
