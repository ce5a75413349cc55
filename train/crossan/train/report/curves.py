"""How training went, and what a sweep found along its axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from crossan.train.report.blocks import Block, Cell, Figures, Note, Section, Table
from crossan.train.report.figures import Figure, Numbers, figure
from crossan.train.report.gathering import Entry, SweepFacts, point_label
from crossan.train.report.headline import figures_text
from crossan.train.report.plots import Line, draw_lines, legend_height

__all__ = ["sweep_section", "training_section"]

_MOST_DRAWN = 8
_SEEDS_DRAWN = 3
_MOST_ROWS = 40
"""Settings of a sweep that the page lists; ``selection.json`` has all of them."""
_WIDE = 8.0
"""From this ratio of the largest to the smallest value on, an axis is logarithmic."""


def training_section(entries: Sequence[Entry]) -> Section:
    """Return loss and validation metrics over epochs, the best epoch ringed."""
    drawn = entries[:_MOST_DRAWN]
    curves = (
        ("curve-hr", "Validation HR@10", "hr@10"),
        ("curve-ndcg", "Validation NDCG@10", "ndcg@10"),
        ("curve-loss", "Training loss", "loss"),
    )
    figures = [
        drawing
        for name, title, what in curves
        for drawing in _curve_figure(drawn, name, title, what)
    ]
    blocks: list[Block] = [Figures(figures)] if figures else [Note(_NO_EPOCHS)]
    blocks.append(_training_table(entries))
    return Section("training", "Training", blocks, _LEAD if figures else "")


_LEAD = "A ring: the best epoch by validation HR@10, whose weights every other number is of."
_STOPPED = {
    "patience": "nothing improved any more",
    "drop_epochs": "after its last drop of the rates",
    "max_epochs": "all its epochs used up",
    "ended": "ended by hand",
}
"""What ended a training; older runs do not say it."""
_NO_EPOCHS = "Nothing was learned in epochs: these models only count."


def sweep_section(sweeps: Sequence[SweepFacts]) -> Section | None:
    """Return the validation metrics along every axis, one line a model; None for no sweep.

    The width on x is Fig. 3 for two models and the upper row of Fig. 5 for one;
    the learning rate is its lower row.
    """
    if not sweeps:
        return None
    figures = [
        drawing
        for axis in _axes(sweeps)
        for metric in ("hr@10", "ndcg@10")
        for drawing in _axis_figure(sweeps, axis, metric)
    ]
    blocks: list[Block] = [Figures(figures)] if figures else []
    blocks += [_settings_table(sweep) for sweep in sweeps]
    blocks += [
        Note(
            f"{sweep.name}: failed: {point_label(one['point'])}, seed {one['seed']}: {one['reason']}"
        )
        for sweep in sweeps
        for one in sweep.selection["failed"][:5]
    ]
    rule = sweeps[0].selection["rule"]
    return Section("sweep", "Sweep", blocks, f"Chosen (ringed): {rule}. {_SWEEP_LEAD}")


_SWEEP_LEAD = (
    "Validation only: test targets were looked at for what was chosen, and for nothing else."
    " At each value the best over the other settings."
)


def _points(entry: Entry, what: str) -> Iterator[tuple[list[int], list[float], int]]:
    """Yield epochs, values and best epoch of each run that has such values."""
    for run in entry.runs[:_SEEDS_DRAWN]:
        known = [
            (
                line["epoch"],
                line.get("loss") if what == "loss" else (line.get("valid") or {}).get(what),
            )
            for line in run.metrics
        ]
        points = [(epoch, value) for epoch, value in known if value is not None]
        if points:
            epochs, values = [epoch for epoch, _ in points], [value for _, value in points]
            yield epochs, values, run.figures["best_epoch"]


def _curve_figure(entries: Sequence[Entry], name: str, title: str, what: str) -> list[Figure]:
    lines, rows = [], []
    for entry in entries:
        for number, (epochs, values, best) in enumerate(_points(entry, what)):
            # One name in the legend for all seeds.
            label = entry.short_label if number == 0 else f"_{entry.short_label} {number}"
            marked = [epochs.index(best)] if best in epochs else []
            lines.append(Line(label, epochs, values, entry.style, marked))
            rows += [
                (entry.full_label, number + 1, epoch, value)
                for epoch, value in zip(epochs, values, strict=True)
            ]
    # A model that only counts has one epoch, and its curve is a point that says nothing.
    if not any(len(line.x) > 1 for line in lines):
        return []
    labels = [line.label for line in lines if not line.label.startswith("_")]
    return [
        figure(
            name,
            title,
            Numbers(("run", "number", "epoch", title), rows),
            lambda canvas: draw_lines(canvas, lines, title, "epoch"),
            size=(4.1, 2.5 + legend_height(len(labels))),
            alt=f"{title} over epochs of {', '.join(labels)}",
        )
    ]


def _training_table(entries: Sequence[Entry]) -> Table:
    rows = []
    for entry in entries:
        for run in entry.runs:
            figures = run.figures
            memory = figures.get("peak_memory_bytes")
            seconds = figures.get("seconds_per_epoch")
            rows.append(
                [
                    Cell(run.name, entry.model, style=entry.style),
                    Cell(str(run.settings.seed)),
                    Cell(
                        f"{figures['best_epoch']} of {figures.get('epochs', '?')}",
                        _STOPPED.get(figures.get("stopped_by", ""), ""),
                    ),
                    Cell("\u2013" if seconds is None else f"{seconds:.2f}"),
                    Cell("\u2013" if not memory else f"{memory / 2**20:,.0f}"),
                    Cell(figures_text(figures["valid"]["hr@10"])),
                ]
            )
    columns = ("run", "seed", "best epoch", "s per epoch", "peak memory, MiB", "valid HR@10")
    return Table("Trainings", columns, rows)


def _axes(sweeps: Sequence[SweepFacts]) -> list[str]:
    """Return the numeric axes that two values or more were tried of."""
    tried: dict[str, set[float]] = {}
    for sweep in sweeps:
        for setting in sweep.selection["settings"]:
            for name, value in setting["point"].items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    tried.setdefault(name, set()).add(float(value))
    return [name for name, values in tried.items() if len(values) > 1]


def _axis_figure(sweeps: Sequence[SweepFacts], axis: str, metric: str) -> list[Figure]:
    lines = [
        line
        for number, (label, settings, chosen) in enumerate(_by_model(sweeps, axis))
        for line in [_axis_line(label, settings, chosen, axis, metric, number)]
    ]
    if not lines:
        return []
    values = sorted({x for line in lines for x in line.x})
    is_log = values[0] > 0 and values[-1] / values[0] >= _WIDE
    rows = [
        (line.label, x, line.y[n], line.spread[n] if line.spread else None)
        for line in lines
        for n, x in enumerate(line.x)
    ]
    what = f"validation {metric.upper()}"
    title = f"{axis.rpartition('.')[2].replace('_', ' ')}: {what}"
    return [
        figure(
            f"sweep-{axis.replace('.', '-').replace('_', '-')}-{metric.replace('@', '-')}",
            title,
            Numbers(("series", axis, what, "deviation between seeds"), rows),
            lambda canvas: draw_lines(canvas, lines, what, axis, is_log=is_log),
            size=(4.1, 2.6 + legend_height(len(lines))),
            alt=f"{what} over {axis} of {', '.join(line.label for line in lines)}",
        )
    ]


def _by_model(
    sweeps: Sequence[SweepFacts], axis: str
) -> Iterator[tuple[str, list[Mapping[str, Any]], Mapping[str, Any]]]:
    """Yield the settings of each sweep and model that have the axis, and the sweep's choice."""
    for sweep in sweeps:
        by_model: dict[str, list[Mapping[str, Any]]] = {}
        for setting in sweep.selection["settings"]:
            if axis in setting["point"]:
                by_model.setdefault(setting["model"], []).append(setting)
        for model, settings in by_model.items():
            label = model if len(sweeps) == 1 else f"{sweep.name}: {model}"
            yield label, settings, sweep.selection["chosen"]


def _axis_line(
    label: str,
    settings: Sequence[Mapping[str, Any]],
    chosen: Mapping[str, Any],
    axis: str,
    metric: str,
    style: int,
) -> Line:
    """Return the best setting at each value of an axis."""
    best: dict[float, Mapping[str, Any]] = {}
    for setting in settings:
        value = float(setting["point"][axis])
        # By the metric that chooses, so that both figures show the same settings.
        if value not in best or _mean(setting, "hr@10") > _mean(best[value], "hr@10"):
            best[value] = setting
    values = sorted(best)
    deviations = [best[value]["valid"][metric]["sd"] for value in values]
    has_seeds = all(deviation is not None for deviation in deviations)
    return Line(
        label,
        values,
        [_mean(best[value], metric) for value in values],
        style,
        [n for n, value in enumerate(values) if best[value]["point"] == chosen["point"]],
        deviations if has_seeds else (),
    )


def _mean(setting: Mapping[str, Any], metric: str) -> float:
    return float(setting["valid"][metric]["mean"])


def _settings_table(sweep: SweepFacts) -> Table:
    chosen = sweep.selection["chosen"]
    settings = sorted(sweep.selection["settings"], key=lambda one: -_mean(one, "hr@10"))
    rows = []
    for one in settings[:_MOST_ROWS]:
        is_chosen = one["point"] == chosen["point"]
        cells = []
        for metric in ("hr@10", "ndcg@10", "hr@20", "ndcg@20"):
            deviation = one["valid"][metric]["sd"]
            detail = "" if deviation is None else f"\u00b1 {deviation:.4f}"
            cells.append(Cell(figures_text(_mean(one, metric)), detail, is_best=is_chosen))
        label = point_label(one["point"])
        rows.append(
            [
                Cell(label, "chosen" if is_chosen else "", is_best=is_chosen),
                Cell(one["model"]),
                Cell(str(len(one["runs"]))),
                *cells,
                Cell(f"{one['trainable_parameters']:,}"),
            ]
        )
    left = len(settings) - len(rows)
    columns = ("setting", "model", "seeds", "HR@10", "NDCG@10", "HR@20", "NDCG@20", "parameters")
    return Table(
        f"{sweep.name}: validation of {len(settings)} settings, best first",
        columns,
        rows,
        f"{left} more are in selection.json." if left else "",
        frozenset({0, 1}),
        is_folded=len(settings) > 12,
    )
