"""The kinds of plot that the page is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.ticker import LogFormatterSciNotation, MaxNLocator, NullLocator, ScalarFormatter

from crossan.train.report.figures import COLOURS, INK, MARKERS, MUTED, shortened

__all__ = [
    "Line",
    "Measured",
    "Series",
    "draw_bars",
    "draw_dots",
    "draw_lines",
    "draw_matrix",
    "draw_parts",
    "legend_height",
]

_LEGEND_COLUMNS = 2
_MOST_MARKERS = 12
"""Points up to which a line has a marker at each."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A number with its interval, None where there is none."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """A number for each part of something, None where the series lacks the part."""

    label: str
    values: Sequence[Measured | None]
    style: int
    """Number of its colour and marker, the same in every figure of the page."""


@dataclass(frozen=True, slots=True)
class Line:
    """Points that are joined, with some of them marked."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    style: int
    marked: Sequence[int] = ()
    """Positions of points that a ring goes around."""
    spread: Sequence[float] = ()
    """Half the length of each point's whisker, empty for none."""


def draw_dots(canvas: Any, series: Sequence[Series], what: str) -> None:  # noqa: ANN401
    """Draw the one number of each series on a common scale, the first on top."""
    axes = canvas.add_subplot()
    for row, one in enumerate(series):
        measured = one.values[0]
        if measured is None:
            continue
        colour = COLOURS[one.style % len(COLOURS)]
        if measured.low is not None and measured.high is not None:
            axes.plot([measured.low, measured.high], [row, row], color=colour, linewidth=2.4,
                      solid_capstyle="round", alpha=0.5)  # fmt: skip
        axes.plot([measured.value], [row], marker="o", markersize=6.5, color=colour)
    axes.set_yticks(range(len(series)), [shortened(one.label, 26) for one in series])
    axes.set_ylim(len(series) - 0.4, -0.6)
    if axes.get_xlim()[0] < 0:
        axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(what)


def draw_parts(
    canvas: Any,  # noqa: ANN401 - untyped library
    parts: Sequence[str],
    series: Sequence[Series],
    what: str,
    *,
    along: str = "",
    from_zero: bool = True,
) -> None:
    """Draw for each part the numbers of all series side by side, with their intervals.

    Parameters
    ----------
    canvas
        Where to draw.
    parts
        Names of the parts, from left to right.
    series
        One number for each part.
    what, along
        What the numbers and the parts are.
    from_zero
        Whether zero is the lower end; else a line is drawn there.
    """
    axes = canvas.add_subplot()
    step = min(0.16, 0.7 / max(len(series), 1))
    for number, one in enumerate(series):
        colour = COLOURS[one.style % len(COLOURS)]
        shift = (number - (len(series) - 1) / 2) * step
        known = [(position + shift, m) for position, m in enumerate(one.values) if m is not None]
        ends = [(x, m.low, m.high) for x, m in known if m.low is not None and m.high is not None]
        if ends:
            x, low, high = zip(*ends, strict=True)
            axes.vlines(x, low, high, color=colour, linewidth=1.8, alpha=0.45)
        axes.plot([x for x, _ in known], [m.value for _, m in known], linestyle="none", color=colour,
                  marker=MARKERS[one.style % len(MARKERS)], markersize=5, label=shortened(one.label))  # fmt: skip
    axes.set_xticks(range(len(parts)), list(parts))
    axes.set_xlim(-0.6, len(parts) - 0.4)
    axes.grid(visible=False, axis="x")
    if from_zero:
        axes.set_ylim(bottom=0)
        axes.spines["left"].set_visible(False)
    else:
        axes.axhline(0, color=INK, linewidth=0.9)
        axes.spines[["left", "bottom"]].set_visible(False)
    axes.set(xlabel=along, ylabel=what)
    _add_legend(canvas, axes, len(series))


def draw_lines(
    canvas: Any,  # noqa: ANN401 - untyped library
    lines: Sequence[Line],
    what: str,
    along: str,
    *,
    is_log: bool = False,
) -> None:
    """Draw lines over a number, with rings around the points that are marked."""
    axes = canvas.add_subplot()
    has_markers = all(len(line.x) <= _MOST_MARKERS for line in lines)
    for line in lines:
        colour = COLOURS[line.style % len(COLOURS)]
        marker = MARKERS[line.style % len(MARKERS)] if has_markers else ""
        axes.plot(line.x, line.y, color=colour, marker=marker, markersize=4.5,
                  label=shortened(line.label))  # fmt: skip
        if line.spread:
            axes.errorbar(line.x, line.y, yerr=line.spread, fmt="none", ecolor=colour, alpha=0.5)
        for point in line.marked:
            axes.plot([line.x[point]], [line.y[point]], marker="o", markersize=10, color=colour,
                      markerfacecolor="none", markeredgewidth=1.6)  # fmt: skip
    if is_log:
        _log_axis(axes, sorted({value for line in lines for value in line.x}))
    elif all(float(value).is_integer() for line in lines for value in line.x):
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set(xlabel=along, ylabel=what)
    _add_legend(canvas, axes, sum(not line.label.startswith("_") for line in lines))


def draw_bars(
    canvas: Any,  # noqa: ANN401 - untyped library
    labels: Sequence[str],
    series: Sequence[Series],
    what: str,
    *,
    is_stacked: bool = False,
) -> None:
    """Draw for each label the bars of all series, below each other or end to end."""
    axes = canvas.add_subplot()
    height = 0.66 if is_stacked else 0.76 / max(len(series), 1)
    ends = [0.0] * len(labels)
    for number, one in enumerate(series):
        known = [(row, m.value) for row, m in enumerate(one.values) if m is not None]
        shift = 0.0 if is_stacked else (number - (len(series) - 1) / 2) * height
        axes.barh(
            [row + shift for row, _ in known],
            [value for _, value in known],
            left=[ends[row] for row, _ in known],
            height=height * 0.92,
            color=COLOURS[one.style % len(COLOURS)],
            label=shortened(one.label),
        )
        for row, value in known:
            ends[row] += value if is_stacked else 0.0
    axes.set_yticks(range(len(labels)), [shortened(label, 26) for label in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(what)
    _add_legend(canvas, axes, len(series))


def draw_matrix(
    axes: Any,  # noqa: ANN401 - untyped library
    cells: Sequence[Sequence[float | None]],
    columns: Sequence[str],
    rows: Sequence[str],
    largest: float,
    written: Sequence[Sequence[str]],
) -> None:
    """Draw a table of numbers as colours, the first row at the bottom.

    Zero has no colour, so that the ground of the page is the middle of the
    scale; numbers above it are of one colour, those below of another.
    """
    from matplotlib.patches import Rectangle

    for y, row in enumerate(cells):
        for x, value in enumerate(row):
            if value is None:
                continue
            colour = COLOURS[0] if value >= 0 else COLOURS[1]
            # Letters of the page's own colour are read on it, so the deepest is not quite solid.
            depth = 0.78 * min(abs(value) / largest, 1.0)
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, alpha=depth))
            axes.text(x, y, written[y][x], ha="center", va="center", fontsize=8, color=INK)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(-0.5, len(rows) - 0.5)
    axes.set_xticks(range(len(columns)), list(columns))
    axes.set_yticks(range(len(rows)), list(rows))
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set(color=MUTED, linewidth=0.5, alpha=0.5)


def legend_height(count: int) -> float:
    """Return the inches that a legend of so many lines takes."""
    return 0.0 if count < 2 else 0.2 * -(-count // _LEGEND_COLUMNS) + 0.05


def _add_legend(canvas: Any, axes: Any, count: int) -> None:  # noqa: ANN401 - untyped library
    if count > 1:
        handles, labels = axes.get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside upper left", ncols=_LEGEND_COLUMNS,
                      handlelength=1.2, columnspacing=1.2)  # fmt: skip


def _log_axis(axes: Any, values: Sequence[float]) -> None:  # noqa: ANN401 - untyped library
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    if len(values) <= 8:
        axes.set_xticks(values, [f"{value:g}" for value in values])
        if len(values) > 5:
            axes.tick_params(axis="x", labelrotation=35)
        return
    powers = LogFormatterSciNotation() if values[0] < 1e-2 else ScalarFormatter()
    axes.xaxis.set_major_formatter(powers)
