"""Figures of the page: drawn once, shown in the page's colours, offered as SVG, PNG and CSV."""

from __future__ import annotations

import base64
import csv
import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

from crossan.common.console import printable

__all__ = [
    "COLOURS",
    "INK",
    "LESS",
    "MARKERS",
    "MUTED",
    "Cell",
    "Figure",
    "Numbers",
    "figure",
    "shortened",
]

INK, MUTED = "#1c2127", "#69727d"
"""Of letters and axes, and of what should stand back.

In the page they become those of its theme.
"""
COLOURS = ("#3a78d6", "#d97a1e", "#1f9d77", "#a257c4", "#cf4a5f", "#8a7a1f", "#2797b3", "#78818c")
"""Of series, in this order; each can be told on white and on black."""
LESS = COLOURS[1]
"""Of what lies below a middle; above it is the first of `COLOURS`."""
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
"""Shapes beside the colours, for whoever does not tell these apart."""

Cell = str | int | float | None

_DOTS_PER_INCH = 130
_WIDE = 5.0
"""Inches that a phone shows in letters that can be read."""
_UNUSED = r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>"
_STYLE = {
    # The salt keeps the ids inside an SVG the same, so that the same run gives the same page.
    "svg.hashsalt": "crossan",
    "svg.fonttype": "none",
    # A dollar in a run's name is a dollar.
    "text.parse_math": False,
    # One name and no list of them, through which every label would be looked up.
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.facecolor": "none",
    "axes.titlesize": 9,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": MUTED,
    "grid.alpha": 0.22,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
} | dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor", "legend.labelcolor"), INK)


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a figure shows, as a table."""

    header: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]

    def to_csv(self) -> str:
        """Return the table as CSV, with every digit; an empty field is a number there is not."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.header, *self.rows])
        return text.getvalue()

    @property
    def link(self) -> str:
        """The table as the address of a link."""
        return _address("text/csv;charset=utf-8", self.to_csv().encode())


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing with its words and its numbers."""

    name: str
    """Unique in the page; the stem of the downloaded files."""
    title: str
    alt: str
    """What is seen, for whoever does not see it."""
    caption: str
    inline: str
    """SVG that takes the page's colours."""
    svg: str
    """SVG on white, to be saved."""
    png: bytes
    numbers: Numbers
    is_wide: bool = False
    """Whether it would be too small to read on a phone, where it is then moved sideways."""

    @property
    def svg_link(self) -> str:
        """The SVG as the address of a link."""
        return _address("image/svg+xml", self.svg.encode())

    @property
    def png_link(self) -> str:
        """The PNG as the address of a link."""
        return _address("image/png", self.png)


def figure(
    name: str,
    title: str,
    numbers: Numbers,
    draw: Callable[[Any], None],
    *,
    size: tuple[float, float],
    alt: str,
    caption: str = "",
) -> Figure:
    """Draw a figure.

    Parameters
    ----------
    name, title, numbers, alt, caption
        As in `Figure`.
    draw
        Draws on an empty canvas of matplotlib.
    size
        Width and height, inches.
    """
    with rc_context(_STYLE), warnings.catch_warnings():
        # A name may have letters that the font lacks: the page's own font has them.
        warnings.filterwarnings("ignore", category=UserWarning, message="Glyph .* missing")
        canvas = Canvas(figsize=size, layout="constrained", facecolor="none")
        draw(canvas)
        svg, png = io.StringIO(), io.BytesIO()
        # Not savefig, which draws everything once more to find out what it need not know here.
        FigureCanvasSVG(canvas).print_svg(svg, metadata={"Date": None})
        # The second file has the places of the first, which are dear to find.
        canvas.set_layout_engine("none")
        canvas.set(facecolor="white", dpi=_DOTS_PER_INCH)
        FigureCanvasAgg(canvas).print_png(png, metadata={"Software": None})
    is_wide = size[0] > _WIDE
    plain = _plain(svg.getvalue(), name)
    inline = plain.replace(INK, "currentColor").replace(MUTED, "var(--muted)")
    return Figure(
        name, title, alt, caption, inline, _on_white(plain), png.getvalue(), numbers, is_wide
    )


def shortened(label: str, length: int = 30) -> str:
    """Return a label that fits beside a plot."""
    label = printable(label)
    return label if len(label) <= length else f"{label[: length - 1]}\N{HORIZONTAL ELLIPSIS}"


def _plain(svg: str, name: str) -> str:
    """Return matplotlib's SVG without what a page has no use for.

    That is its header, comments, spaces and digits beyond what a screen shows.
    Ids become unique in the page.
    """
    text = re.sub(_UNUSED, "", svg[svg.index("<svg") :], flags=re.S)
    # Between tags stand letters of labels, which stay as they are, and empty lines.
    return "".join(
        _plain_tag(part, name) if part.startswith("<") else part.strip("\n ")
        for part in re.split(r"(<[^>]*>)", text)
    )


def _plain_tag(tag: str, name: str) -> str:
    tag = re.sub(r'^<g id="[^"]*"', "<g", tag)
    tag = re.sub(r'(?<= id=")|(?<=href="#)|(?<=url\(#)', f"{name}-", tag)
    tag = re.sub(r"(\d\.\d\d)\d+", r"\1", tag)
    tag = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", tag)
    tag = re.sub(r' transform="rotate\(-0 [^)]*\)"', "", tag)
    return re.sub(r"\s+", " ", tag)


def _on_white(svg: str) -> str:
    head, _, rest = svg.partition(">")
    return f'{head}><rect width="100%" height="100%" fill="#ffffff"/>{rest}'


def _address(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
