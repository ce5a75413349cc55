"""The report's figures as SVG text.

There are curves over epochs and heat maps of the gate weights over layers.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from crossan.cache_schema.modality import Modality

__all__ = ["curve_figure", "gate_figure"]

_INK = "#808080"
"""Readable on white and on black."""
_COLOURS = ("#2a7ae2", "#e2792a", "#2aa876", "#a84fc4")
_LETTERS = {Modality.IMAGE: "I", Modality.TEXT: "T", Modality.VIDEO: "V", Modality.AUDIO: "A"}
"""Columns in the order of Fig. 4, after H for the tower's own hidden state."""
# The salt keeps the ids inside an SVG the same, so that the same run gives the same page.
_STYLE = {
    "svg.hashsalt": "crossan",
    "font.size": 9,
    "axes.edgecolor": _INK,
    "text.color": _INK,
} | dict.fromkeys(("axes.labelcolor", "xtick.color", "ytick.color"), _INK)


def curve_figure(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], label: str) -> str:
    """Return lines over epochs as SVG.

    Parameters
    ----------
    curves
        Name of a line to its epochs and values.
    label
        What the values are.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.6, 2.8), layout="constrained")
        axes = figure.add_subplot()
        for colour, (name, (epochs, values)) in zip(
            _COLOURS * len(curves), curves.items(), strict=False
        ):
            axes.plot(epochs, values, label=name, color=colour, linewidth=1.6)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.grid(visible=True, alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if len(curves) > 1:
            axes.legend(frameon=False, labelcolor=_INK)
        return _svg(figure)


def gate_figure(
    weights: Sequence[Sequence[Sequence[float]]], modalities: Sequence[Modality]
) -> str:
    """Return the gates as one heat map per tower, as in Fig. 4.

    Rows are adapter layers, with layer 0 at the bottom.

    Parameters
    ----------
    weights
        ``(tower, layer, modality + 1)``, towers and inputs in the order of
        ``modalities``, the tower's own hidden state last.
    modalities
        The modalities in use.
    """
    order = [modality for modality in _LETTERS if modality in modalities]
    # The hidden state is the last input of a gate but the first column of Fig. 4.
    columns = [len(modalities), *(list(modalities).index(modality) for modality in order)]
    values = [value for tower in weights for layer in tower for value in layer]
    # One scale for all towers, so that their colours can be compared.
    lowest, highest = min(values), max(values)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(2.2 * len(order) + 0.6, 3.2), layout="constrained")
        for position, modality in enumerate(order, 1):
            tower = weights[list(modalities).index(modality)]
            axes = figure.add_subplot(1, len(order), position)
            cells = [[layer[column] for column in columns] for layer in tower]
            image = axes.imshow(
                cells, origin="lower", cmap="Blues", vmin=lowest, vmax=highest, aspect="auto"
            )
            axes.set_title(f"{modality.value} tower")
            axes.set_xticks(range(len(columns)), ["H", *(_LETTERS[m] for m in order)])
            axes.set_yticks(range(len(cells)))
            for row, layer in enumerate(cells):
                for column, value in enumerate(layer):
                    shade = "white" if value > lowest + 0.6 * (highest - lowest) else "#333333"
                    axes.text(
                        column,
                        row,
                        f"{value:.2f}",
                        ha="center",
                        va="center",
                        fontsize=7,
                        color=shade,
                    )
        figure.colorbar(image, ax=figure.axes, shrink=0.8)
        return _svg(figure)


def _svg(figure: Any) -> str:  # noqa: ANN401 - untyped library
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
