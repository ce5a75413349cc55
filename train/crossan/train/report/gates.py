"""The gates as deviation from the even share, all on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.patches import Rectangle

from crossan.cache_schema.modality import Modality
from crossan.train.report.blocks import Figures, Note, Section
from crossan.train.report.figures import COLOURS, Figure, Numbers, figure
from crossan.train.report.gathering import Entry
from crossan.train.report.plots import draw_matrix
from crossan.train.settings.tower import Tower, in_order, modality_of

__all__ = ["GateWeights", "gates_section"]

_LETTERS = {Modality.IMAGE: "I", Modality.TEXT: "T", Modality.VIDEO: "V", Modality.AUDIO: "A"}
"""Columns in the order of Fig. 4, after H for the tower's own hidden state."""
_LEAST_SCALE = 0.05
"""The deepest colour stands for this deviation at least, so that near-even gates look even."""
_MOST_DRAWN = 6
_STEPS = 4

_LEAD = (
    "Eq. 5's weights for an item that lacks nothing, as in Fig. 4, less the even share of their"
    " inputs, in percentage points; mean over seeds. Rows: adapter layers, 0 at the bottom."
    " Columns: H the tower's own hidden state; I, T, V, A the previous adapter outputs of image,"
    " text, video and audio (zeros at layer 0), numbered where several stores of one are read. One scale for all runs."
)


@dataclass(frozen=True, slots=True)
class GateWeights:
    """The weights of one entry.

    ``weights`` is ``(tower, layer, modality + 1)``, towers and inputs in the order of
    ``modalities``, the tower's own hidden state last.
    """

    entry: Entry
    modalities: Sequence[Tower]
    weights: Sequence[Sequence[Sequence[float]]]


def gates_section(gates: Sequence[GateWeights]) -> Section | None:
    """Return a map for each entry with gates, None where none has any."""
    if not gates:
        return None
    largest = max([_LEAST_SCALE, *(abs(d) for one in gates for d in _deviations(one))])
    drawn = gates[:_MOST_DRAWN]
    blocks: list[Any] = [Figures([_map(one, largest) for one in drawn])]
    if len(gates) > len(drawn):
        blocks.append(Note(f"Drawn: the first {len(drawn)} of {len(gates)} runs with gates."))
    return Section("gates", "Gates", blocks, _LEAD)


def _inputs(gate: Sequence[float], tower: int, count: int) -> list[float | None]:
    """Return the deviations of one gate, None for an input that it does not have.

    A gate without cross-modal terms has two inputs, and its weights of other
    towers are zero.
    """
    is_own = [weight for n, weight in enumerate(gate) if n not in {tower, count}]
    has_others = any(weight != 0.0 for weight in is_own)
    share = 1.0 / (count + 1 if has_others else 2)
    return [
        weight - share if has_others or n in {tower, count} else None
        for n, weight in enumerate(gate)
    ]


def _deviations(one: GateWeights) -> list[float]:
    count = len(one.modalities)
    return [
        deviation
        for tower, layers in enumerate(one.weights)
        for gate in layers
        for deviation in _inputs(gate, tower, count)
        if deviation is not None
    ]


def _letters(towers: Sequence[Tower]) -> list[str]:
    """Return the letter of each tower, with a number where several read one modality."""
    letters = [_LETTERS[modality_of(tower)] for tower in towers]
    return [
        letter if letters.count(letter) == 1 else f"{letter}{letters[: n + 1].count(letter)}"
        for n, letter in enumerate(letters)
    ]


def _map(one: GateWeights, largest: float) -> Figure:
    count, given = len(one.modalities), list(one.modalities)
    order = sorted(in_order(given), key=lambda one: [*_LETTERS].index(modality_of(one)))
    # The hidden state is the last input of a gate but the first column of Fig. 4.
    columns = [count, *(given.index(modality) for modality in order)]
    letters = ["H", *_letters(order)]
    towers: dict[Tower, list[list[float | None]]] = {}
    rows = []
    for modality in order:
        tower = given.index(modality)
        inputs = [_inputs(gate, tower, count) for gate in one.weights[tower]]
        towers[modality] = [[gate[column] for column in columns] for gate in inputs]
        rows += [
            (
                modality.value,
                layer,
                letter,
                one.weights[tower][layer][column],
                inputs[layer][column],
            )
            for layer in range(len(inputs))
            for letter, column in zip(letters, columns, strict=True)
        ]

    def draw(canvas: Any) -> None:  # noqa: ANN401 - untyped library
        grid = canvas.subplots(1, len(order) + 1, width_ratios=[*([1.0] * len(order)), 0.13])
        for axes, (modality, cells) in zip(grid, towers.items(), strict=False):
            layers = [str(layer) for layer in range(len(cells))]
            draw_matrix(axes, cells, letters, layers, largest, _written(cells))
            axes.set_title(f"{modality.value} tower")
        _draw_scale(grid[-1], largest)

    label = one.entry.full_label
    return figure(
        f"gates-{one.entry.style + 1}",
        label,
        Numbers(("tower", "layer", "input", "weight", "less the even share"), rows),
        draw,
        size=(1.75 * len(order) + 0.7, 0.27 * len(one.weights[0]) + 0.75),
        alt=f"Gate weights of {label} by tower, layer and input; {_extremes(rows)}",
    )


def _written(cells: Sequence[Sequence[float | None]]) -> list[list[str]]:
    """Return percentage points, nothing where they round to zero."""
    return [
        ["" if value is None or round(100 * value) == 0 else f"{100 * value:+.0f}" for value in row]
        for row in cells
    ]


def _extremes(rows: Sequence[tuple[str, int, str, float, float | None]]) -> str:
    known = [row for row in rows if row[4] is not None]
    highest, lowest = max(known, key=lambda row: row[3]), min(known, key=lambda row: row[3])
    return (
        f"highest {highest[3]:.2f} for {highest[2]} in layer {highest[1]} of the {highest[0]} tower,"
        f" lowest {lowest[3]:.2f} for {lowest[2]} in layer {lowest[1]} of the {lowest[0]} tower"
    )


def _draw_scale(axes: Any, largest: float) -> None:  # noqa: ANN401 - untyped library
    for step in range(-_STEPS, _STEPS + 1):
        colour = COLOURS[0] if step >= 0 else COLOURS[1]
        axes.add_patch(
            Rectangle((0, step - 0.5), 1, 1, facecolor=colour, alpha=0.78 * abs(step) / _STEPS)
        )
    axes.set(xlim=(0, 1), ylim=(-_STEPS - 0.5, _STEPS + 0.5), xticks=[])
    ends = (-_STEPS, 0, _STEPS)
    axes.set_yticks(ends, [f"{100 * largest * end / _STEPS:+.0f}" if end else "0" for end in ends])
    axes.yaxis.tick_right()
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
