"""Curves of a training as small SVG drawings, without a library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from crossan.train.service.web.pages.traces import Epoch
from crossan.train.service.web.pages.words import figure

__all__ = ["Curve", "curves_of", "draw"]

_WIDTH, _HEIGHT = 460, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 18, 40
_MOST_POINTS = 400
"""Points drawn at most; of more, every n-th is, and the best and the last."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One quantity over epochs."""

    title: str
    points: tuple[tuple[int, float], ...]
    """Epoch and value, all finite, in the order of the epochs."""
    best: tuple[int, float] | None = None


def curves_of(epochs: Sequence[Epoch]) -> list[Curve]:
    """Return the loss and the validation NDCG@10 of a training, where it has them."""
    losses = [(one.number, one.loss) for one in epochs if one.loss is not None]
    values = [(one.number, one.valid["ndcg@10"]) for one in epochs if "ndcg@10" in one.valid]
    best = next((one for one in reversed(epochs) if one.is_best), None)
    best_value = None if best is None else best.valid.get("ndcg@10")
    marked = None if best is None or best_value is None else (best.number, best_value)
    drawn = [
        Curve("Training loss", _finite(losses)),
        Curve("Validation NDCG@10", _finite(values), marked),
    ]
    return [curve for curve in drawn if curve.points]


def draw(curve: Curve) -> Markup:
    """Return a curve as an SVG element: axes with ticks, the line, and the best epoch marked."""
    epochs = [point[0] for point in curve.points]
    values = [point[1] for point in curve.points]
    xs = _Axis(min(epochs), max(epochs), _LEFT, _WIDTH - _RIGHT, is_whole=True)
    ys = _Axis(min(values), max(values), _HEIGHT - _BOTTOM, _TOP)
    parts = [*_grid(xs, ys), _line(curve, xs, ys), *_marks(curve, xs, ys)]
    # Every text in it is made of numbers of ours; the title is escaped.
    return Markup(  # noqa: S704
        f'<svg class="curve" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
        f' aria-label="{escape(_alternative(curve))}">{"".join(parts)}</svg>'
    )


class _Axis:
    """Where values lie in the drawing, and at which of them ticks stand."""

    def __init__(
        self, low: float, high: float, start: float, end: float, *, is_whole: bool = False
    ) -> None:
        if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
            spread = 0.5 if is_whole else (abs(low) * 0.1 or 1.0)
            low, high = low - spread, high + spread
        step = _step((high - low) / (8 if is_whole else 4))
        if is_whole:
            step = max(step, 1.0)
        self.ticks = _multiples(low, high, step)
        if not is_whole:
            low, high = min(low, self.ticks[0] - step), max(high, self.ticks[-1] + step)
            low, high = math.floor(low / step) * step, math.ceil(high / step) * step
            self.ticks = _multiples(low, high, step)
        self.step = step
        self._low, self._high, self._start, self._end = low, high, start, end

    def at(self, value: float) -> float:
        """Return the coordinate of a value."""
        share = (value - self._low) / (self._high - self._low)
        return round(self._start + share * (self._end - self._start), 1)

    def text(self, tick: float) -> str:
        """Return a tick in as many decimals as tell it from its neighbour."""
        if abs(tick) >= 1e6:
            return f"{tick:.1e}"
        decimals = max(0, -math.floor(math.log10(self.step) + 1e-9))
        return f"{tick:.{decimals}f}" if decimals <= 6 else f"{tick:.1e}"


def _step(rough: float) -> float:
    """Return the nearest of 1, 2 and 5 times a power of ten that is not below ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(
        (factor * power for factor in (1.0, 2.0, 5.0) if factor * power >= rough), 10 * power
    )


def _multiples(low: float, high: float, step: float) -> list[float]:
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _grid(xs: _Axis, ys: _Axis) -> list[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = [
        f'<path class="grid" d="M{_LEFT} {ys.at(tick)}H{right}"/>'
        f'<text class="y" x="{_LEFT - 8}" y="{ys.at(tick) + 4}">{ys.text(tick)}</text>'
        for tick in ys.ticks
    ]
    parts += [
        f'<text class="x" x="{xs.at(tick)}" y="{bottom + 17}">{xs.text(tick)}</text>'
        for tick in xs.ticks
    ]
    middle = (_LEFT + right) / 2
    parts.append(f'<path class="axis" d="M{_LEFT} {bottom}H{right}"/>')
    parts.append(f'<text class="x name" x="{middle}" y="{_HEIGHT - 6}">epoch</text>')
    return parts


def _line(curve: Curve, xs: _Axis, ys: _Axis) -> str:
    points = _thinned(curve.points)
    path = "L".join(f"{xs.at(epoch)} {ys.at(value)}" for epoch, value in points)
    dots = ""
    if len(points) <= 40:
        dots = "".join(
            f'<circle class="dot" cx="{xs.at(epoch)}" cy="{ys.at(value)}" r="2.5"/>'
            for epoch, value in points
        )
    return f'<path class="line" d="M{path}"/>{dots}'


def _marks(curve: Curve, xs: _Axis, ys: _Axis) -> list[str]:
    if curve.best is None:
        return []
    epoch, value = curve.best
    x, y = xs.at(epoch), ys.at(value)
    # The words stand where the drawing has room: to the left of a mark in the right half.
    is_right = x > _WIDTH / 2
    anchor, shift = ("end", -9) if is_right else ("start", 9)
    height = y - 8 if y - 8 > _TOP - 4 else y + 18
    text = f"best: epoch {epoch}, {figure(float(value))}"
    return [
        f'<circle class="best" cx="{x}" cy="{y}" r="5"/>',
        f'<text class="best" text-anchor="{anchor}" x="{x + shift}" y="{height:.1f}">{text}</text>',
    ]


def _alternative(curve: Curve) -> str:
    (first, start), (last, end) = curve.points[0], curve.points[-1]
    text = (
        f"{curve.title} over epochs {first} to {last}: from {figure(start)} to {figure(end)}"
        if len(curve.points) > 1
        else f"{curve.title} after epoch {first}: {figure(start)}"
    )
    if curve.best is not None:
        text += f", best at epoch {curve.best[0]} with {figure(curve.best[1])}"
    return text


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    every = math.ceil(len(points) / _MOST_POINTS)
    kept = list(points[::every])
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def _finite(points: Sequence[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    return tuple((epoch, value) for epoch, value in points if math.isfinite(value))
