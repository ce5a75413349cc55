"""A comparison as people read it on a terminal."""

from __future__ import annotations

from collections.abc import Callable

from crossan.common.console import Column, print_table, print_text
from crossan.train.comparison.measuring import Cell, ComparedRow, Comparison, Spread
from crossan.train.comparison.words import METRIC_NAMES, facts, footnotes, p_value, row_facts

__all__ = ["print_comparison"]


def print_comparison(comparison: Comparison) -> None:
    """Print figures, differences, the cold slice and what training took."""
    print_text(facts(comparison))
    _print_figures(comparison)
    if any(cell.difference for row in comparison.rows for cell in row.cells.values()):
        _print_differences(comparison)
    if any(row.cold for row in comparison.rows):
        _print_cold(comparison)
    _print_training(comparison)
    for line in footnotes(comparison):
        print_text(line)


def _print_figures(comparison: Comparison) -> None:
    cells = [cell for row in comparison.rows for cell in row.cells.values()]
    _print_rows(
        comparison,
        [Column(name, is_number=True) for name in METRIC_NAMES.values()],
        lambda row: [_figure(row.cells[metric]) for metric in METRIC_NAMES],
    )
    marks = []
    if any(cell.is_best for cell in cells):
        marks.append("^ best of its column")
    if any(cell.is_significant for cell in cells):
        alpha = f"{1 - comparison.level:.2g}".removeprefix("0")
        marks.append(
            f"* best, and better than the best other row at the level of {alpha}"
            " by a paired t-test over users"
        )
    if any(cell.spread.sd is not None for cell in cells):
        marks.append("± standard deviation between seeds")
    if marks:
        print_text("; ".join(marks))


def _print_differences(comparison: Comparison) -> None:
    """Print a line for every row and metric, p-values adjusted for the number of rows."""
    others = [row for row in comparison.rows if row.row.name != comparison.baseline]
    lines = []
    for row in others:
        for metric, name in METRIC_NAMES.items():
            difference = row.cells[metric].difference
            if difference is None:
                continue
            low, high = difference.paired.interval
            effect = difference.paired.effect_size
            lines.append(
                [
                    row.row.name,
                    name,
                    _signed(difference.paired.difference),
                    f"[{_signed(low)}, {_signed(high)}]",
                    p_value(difference.t_p_holm),
                    p_value(difference.wilcoxon_p_holm),
                    "-" if effect is None else f"{effect:+.2f}",
                ]
            )
    columns = [Column("row"), Column("metric", is_whole=True)]
    columns += [
        Column(name, is_number=True)
        for name in ("difference", f"{comparison.level:.0%} interval", "p t", "p W", "d")
    ]
    print_text("")
    print_table(columns, lines, title=f"difference from {comparison.baseline}:")
    adjusted = f", both adjusted by Holm for {len(others)} rows" if len(others) > 1 else ""
    print_text(
        f"over users: bootstrap interval; p of the paired t-test and of Wilcoxon's{adjusted};"
        " d is the difference in standard deviations"
    )


def _print_cold(comparison: Comparison) -> None:
    columns = [Column(f"cold {name}", is_number=True) for name in ("HR@10", "NDCG@10")]

    def cells(row: ComparedRow) -> list[str]:
        return [] if row.cold is None else [_spread(spread) for spread in row.cold.values()]

    print_text("")
    _print_rows(comparison, columns, cells)


def _print_training(comparison: Comparison) -> None:
    columns = [Column("model")]
    columns += [
        Column(name, is_number=True) for name in ("seeds", "parameters", "epochs", "s/epoch")
    ]
    print_text("")
    _print_rows(comparison, columns, row_facts)


def _print_rows(
    comparison: Comparison, columns: list[Column], cells: Callable[[ComparedRow], list[str]]
) -> None:
    print_table([Column("row"), *columns], [[row.row.name, *cells(row)] for row in comparison.rows])


def _figure(cell: Cell) -> str:
    """Return a figure with its mark, a blank where it has none so that digits stay aligned."""
    mark = "*" if cell.is_significant else "^" if cell.is_best else " "
    return _spread(cell.spread) + mark


def _spread(spread: Spread) -> str:
    """Return mean and deviation, as ``0.1091±.0046``: four such columns fit 80 characters."""
    if spread.sd is None:
        return f"{spread.mean:.4f}"
    return f"{spread.mean:.4f}±" + f"{spread.sd:.4f}".removeprefix("0")


def _signed(value: float) -> str:
    """Return a difference with its sign, as ``+.0123``."""
    return f"{value:+.4f}".replace("0.", ".", 1)
