"""What ``crossan analyse`` measures: information, experts, layers; and what training cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crossan.train.analysis.efficiency import Cost, savings, tpme
from crossan.train.report.blocks import Block, Cell, Figures, Note, Section, Table
from crossan.train.report.figures import Figure, Numbers, figure
from crossan.train.report.gathering import Entry
from crossan.train.report.plots import Line, Measured, Series, draw_bars, draw_lines, legend_height

__all__ = ["Analysed", "efficiency_section", "inside_section"]

_MOST_DRAWN = 4
_LACKING_SHOWN = 5
"""Patterns of missing modalities that are drawn, the commonest."""
_MIB = 2**20

_LEAD = (
    "Layer information: the share of a layer's mean square that differs between items; near 0 all"
    " items look alike. Expert use: the mean weight of each modality in the fusion, by part of the"
    " catalogue. Mutual information of two towers' outputs: that of the Gaussian with their"
    " covariance, in nats, its bias taken off; it is comparable among runs of this page, not with"
    " other estimators."
)


@dataclass(frozen=True, slots=True)
class Analysed:
    """The analysis of one entry's first run."""

    entry: Entry
    found: Mapping[str, Any]
    """As `crossan.train.runs.analysing.analyse_run` gives it."""


def inside_section(analysed: Sequence[Analysed], notes: Sequence[Note]) -> Section | None:
    """Return information, experts and layers of the runs that have them.

    Parameters
    ----------
    analysed
        The analyses there are.
    notes
        What to say of runs that have none.
    """
    drawn = analysed[:_MOST_DRAWN]
    figures = [*_layer_figures(analysed), *_information_figures(analysed)]
    figures += [drawing for one in drawn for drawing in _expert_figures(one)]
    blocks: list[Block] = [Figures(figures)] if figures else []
    blocks += _expert_tables(drawn)
    blocks += notes
    if not blocks:
        return None
    return Section("inside", "Inside the models", blocks, _LEAD if figures else "")


def efficiency_section(entries: Sequence[Entry]) -> Section | None:
    """Return what training cost, relative to the other runs of the page where there are any."""
    costs = {entry.label: cost for entry in entries for cost in [_cost(entry)] if cost is not None}
    known = [entry for entry in entries if entry.label in costs]
    if not known:
        return None
    relative = tpme([costs[entry.label] for entry in known]) if len(known) > 1 else [None]
    first = known[0]
    rows = []
    for entry, weighed in zip(known, relative, strict=True):
        cost = costs[entry.label]
        saved = savings(cost, costs[first.label])
        details = ["", "", ""] if entry is first else [
            _change(-one) for one in
            (saved.seconds_per_epoch, saved.peak_memory_bytes, saved.trainable_parameters)
        ]  # fmt: skip
        rows.append(
            [
                Cell(entry.label, entry.model, style=entry.style),
                Cell(f"{cost.seconds_per_epoch:.2f}", details[0]),
                Cell(f"{cost.peak_memory_bytes / _MIB:,.0f}", details[1]),
                Cell(f"{cost.trainable_parameters:,.0f}", details[2]),
                Cell("\u2013" if weighed is None else f"{weighed:.3f}"),
            ]
        )
    columns = ("run", "seconds per epoch", "peak memory, MiB", "trainable parameters", "TPME")
    note = f"Small figures: against {first.label}. " if len(known) > 1 else ""
    note += (
        "TPME (IISAN): 0.45 time + 0.1 parameters + 0.45 memory, each from 0 for the least to 1 for"
        " the most of these rows; it needs rows of one machine."
    )
    return Section("efficiency", "Efficiency", [Table("Cost of training", columns, rows, note)])


def _change(share: float) -> str:
    """Return how much more or less one cost is than another."""
    return "the same" if abs(share) < 0.005 else f"{share:+.0%}"


def _cost(entry: Entry) -> Cost | None:
    """Return the mean over the runs, None where one recorded none, or counts only."""
    names = ("seconds_per_epoch", "trainable_parameters", "peak_memory_bytes")
    of_runs = [[run.figures.get(name) for name in names] for run in entry.runs]
    if any(value is None for values in of_runs for value in values):
        return None
    return Cost(*(sum(values) / len(of_runs) for values in zip(*of_runs, strict=True)))


def _layer_figures(analysed: Sequence[Analysed]) -> Iterator[Figure]:
    """Yield a figure for each distinct table of layers, as runs of the same stores share one."""
    seen: list[Any] = []
    for one in analysed:
        rows, run = one.found.get("layers"), one.entry.runs[0]
        # Shuffled between items they are the same states.
        features = run.settings.features.model_copy(update={"permute_seed": None})
        key = (run.settings.data.modality, run.stores, features)
        if not rows or key in seen:
            continue
        seen.append(key)
        modalities = list(dict.fromkeys(row["modality"] for row in rows))
        lines = [
            Line(
                name,
                [row["layer"] for row in rows if row["modality"] == name],
                [100 * row["share"] for row in rows if row["modality"] == name],
                style,
            )
            for style, name in enumerate(modalities)
        ]
        shown = ("modality", "layer", "items", "variance", "mean_square", "share", "effective_rank")
        title = "Layer information" + ("" if len(seen) == 1 else f": {one.entry.label}")
        yield _lines_figure(
            f"layers-{len(seen)}",
            title,
            Numbers(shown, [[row.get(name) for name in shown] for row in rows]),
            lines,
        )


def _lines_figure(name: str, title: str, numbers: Numbers, lines: Sequence[Line]) -> Figure:
    what = "variance, % of mean square"
    return figure(
        name,
        title,
        numbers,
        lambda canvas: draw_lines(canvas, lines, what, "layer"),
        size=(4.1, 2.5 + legend_height(len(lines))),
        alt=f"{title}: {what} over layers of {', '.join(line.label for line in lines)}",
    )


def _information_figures(analysed: Sequence[Analysed]) -> list[Figure]:
    known = [one for one in analysed if one.found.get("mutual_information")]
    if not known:
        return []
    pairs = list(
        dict.fromkeys(
            " and ".join(pair["between"])
            for one in known
            for pair in one.found["mutual_information"]["pairs"]
        )
    )
    series, rows = [], []
    for one in known:
        by_pair = {
            " and ".join(pair["between"]): pair for pair in one.found["mutual_information"]["pairs"]
        }
        values = []
        for name in pairs:
            nats = by_pair.get(name, {}).get("nats")
            values.append(None if nats is None else Measured(nats))
            rows.append((one.entry.label, name, nats, by_pair.get(name, {}).get("noise")))
        series.append(Series(one.entry.short_label, values, one.entry.style))
    title = "Mutual information of the towers"
    return [
        figure(
            "mutual-information",
            title,
            Numbers(("run", "towers", "nats", "noise where independent"), rows),
            lambda canvas: draw_bars(canvas, pairs, series, "nats"),
            size=(4.1, 0.9 + 0.24 * len(pairs) * max(len(series), 1) + legend_height(len(series))),
            alt=f"{title}, {', '.join(pairs)}, of {', '.join(one.label for one in series)}",
        )
    ]


def _parts(experts: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the parts of the catalogue that are drawn, with their names."""
    slices = experts["slices"]
    parts = [("all items", use) for use in slices.get("all", {}).values()]
    parts += [(f"{name} items", use) for name, use in slices.get("training", {}).items()]
    lacking = sorted(slices.get("lacking", {}).items(), key=lambda pair: -pair[1]["items"])
    parts += [(f"lack {name}", use) for name, use in lacking[:_LACKING_SHOWN] if len(lacking) > 1]
    return parts


def _expert_figures(one: Analysed) -> list[Figure]:
    experts = one.found.get("experts")
    parts = _parts(experts) if experts else []
    if not parts:
        return []
    modalities = list(parts[0][1]["modalities"])
    series = [
        Series(name, [Measured(use["modalities"][name]["weight"]) for _, use in parts], style)
        for style, name in enumerate(modalities)
    ]
    rows = [
        (
            part,
            use["items"],
            name,
            use["modalities"][name]["share"],
            use["modalities"][name]["weight"],
        )
        for part, use in parts
        for name in modalities
    ]
    title = f"Expert use: {one.entry.label}"
    labels = [part for part, _ in parts]
    return [
        figure(
            f"experts-{one.entry.style + 1}",
            title,
            Numbers(("part", "items", "modality", "share that chooses it", "mean weight"), rows),
            lambda canvas: draw_bars(canvas, labels, series, "mean weight", is_stacked=True),
            size=(4.1, 0.85 + 0.26 * len(labels) + legend_height(len(series))),
            alt=f"{title}: mean weight of {', '.join(modalities)} for {', '.join(labels)}",
        )
    ]


def _expert_tables(analysed: Sequence[Analysed]) -> list[Block]:
    """Return the use of experts by popularity, folded."""
    tables: list[Block] = []
    for one in analysed:
        slices = (one.found.get("experts") or {}).get("slices", {})
        parts = {**slices.get("all", {}), **slices.get("popularity_decile", {})}
        if not parts:
            continue
        modalities = list(next(iter(parts.values()))["modalities"])
        rows = [
            [
                Cell("all items" if part == "all" else f"decile {part}"),
                Cell(f"{use['items']:,}"),
                *(Cell(f"{use['modalities'][name]['weight']:.3f}", f"{use['modalities'][name]['share']:.0%} of items")
                  for name in modalities),
            ]
            for part, use in parts.items()
        ]  # fmt: skip
        columns = (
            "items, by popularity",
            "items",
            *(f"{name}: weight, chosen by" for name in modalities),
        )
        tables.append(
            Table(f"Expert use by popularity: {one.entry.label}", columns, rows, is_folded=True)
        )
    return tables
