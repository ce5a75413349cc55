r"""A comparison as LaTeX and as Markdown, with figures in percent as papers print them.

The best figures are bold. A star is the paper's: the best row is better than the
best of the others by a paired t-test over users.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from crossan.common.console import printable
from crossan.train.comparison.measuring import Cell, ComparedRow, Comparison, Spread
from crossan.train.comparison.words import METRIC_NAMES, facts, footnotes, p_value, row_facts

__all__ = ["LATEX_BEGINS", "MARKDOWN_BEGINS", "as_latex", "as_markdown"]

LATEX_BEGINS = "% crossan compare"
MARKDOWN_BEGINS = "<!-- crossan compare -->"

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~&])")


@dataclass(frozen=True, slots=True)
class _Markup:
    """How one language writes text and figures."""

    text: Callable[[str], str]
    plus_minus: str
    bold: Callable[[str], str]
    star: str


@dataclass(frozen=True, slots=True)
class _Table:
    title: str
    header: Sequence[str]
    lines: Sequence[Sequence[str]]
    texts: int = 1
    """How many columns at the left hold texts; the others hold numbers."""

    @property
    def numbers(self) -> int:
        """How many columns hold numbers."""
        return len(self.header) - self.texts


def as_latex(comparison: Comparison) -> str:
    """Return a float for each table, for the package booktabs."""
    markup = _Markup(_latex_text, r" $\pm$ ", lambda text: rf"\textbf{{{text}}}", "$^{*}$")
    parts = [f"{LATEX_BEGINS}; needs \\usepackage{{booktabs}}"]
    for table in _tables(comparison, markup):
        parts += [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{table.title}}}",
            rf"\begin{{tabular}}{{{'l' * table.texts}{'r' * table.numbers}}}",
            r"\toprule",
            rf"{' & '.join(table.header)} \\",
            r"\midrule",
            *(rf"{' & '.join(line)} \\" for line in table.lines),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    parts += [f"% {printable(line)}" for line in footnotes(comparison)]
    return "\n".join(parts) + "\n"


def as_markdown(comparison: Comparison) -> str:
    """Return the tables in Markdown as GitHub reads it."""
    markup = _Markup(_markdown_text, " ± ", lambda text: f"**{text}**", r"\*")
    parts = [MARKDOWN_BEGINS]
    for table in _tables(comparison, markup):
        parts += [
            "",
            table.title,
            "",
            _markdown_line(table.header),
            _markdown_line([*["---"] * table.texts, *["---:"] * table.numbers]),
            *map(_markdown_line, table.lines),
        ]
    notes = footnotes(comparison)
    parts += ["", *(f"- {_markdown_text(line)}" for line in notes)] if notes else []
    return "\n".join(parts) + "\n"


def _tables(comparison: Comparison, markup: _Markup) -> Iterator[_Table]:
    """Yield figures, differences and what training took, every text already escaped."""
    about = facts(comparison)
    yield _figures(comparison, markup, about)
    if any(cell.difference for row in comparison.rows for cell in row.cells.values()):
        yield _differences(comparison, markup, about)
    yield _Table(
        markup.text(f"What training took; {about}."),
        list(map(markup.text, ["Row", "Model", "Seeds", "Parameters", "Epochs", "s/epoch"])),
        [list(map(markup.text, [row.row.name, *row_facts(row)])) for row in comparison.rows],
        texts=2,
    )


def _figures(comparison: Comparison, markup: _Markup, about: str) -> _Table:
    has_cold = any(row.cold for row in comparison.rows)
    cold_names = ["Cold HR@10", "Cold NDCG@10"] if has_cold else []
    alpha = f"{1 - comparison.level:.2g}".removeprefix("0")
    title = (
        f"In percent; {about}. Best in bold; * better than the best other row at the level of"
        f" {alpha} by a paired t-test over users."
    )
    return _Table(
        markup.text(title),
        list(map(markup.text, ["Row", *METRIC_NAMES.values(), *cold_names])),
        [
            [
                markup.text(row.row.name),
                *(_figure(row.cells[metric], markup) for metric in METRIC_NAMES),
                *_cold(row, markup, len(cold_names)),
            ]
            for row in comparison.rows
        ],
    )


def _differences(comparison: Comparison, markup: _Markup, about: str) -> _Table:
    lines = []
    for row in comparison.rows:
        for metric, name in METRIC_NAMES.items():
            difference = row.cells[metric].difference
            if difference is None:
                continue
            low, high = difference.paired.interval
            effect = difference.paired.effect_size
            cells = [
                row.row.name,
                name,
                f"{100 * difference.paired.difference:+.2f}",
                f"{100 * low:+.2f} to {100 * high:+.2f}",
                p_value(difference.t_p_holm),
                p_value(difference.wilcoxon_p_holm),
                "-" if effect is None else f"{effect:+.3f}",
            ]
            lines.append(list(map(markup.text, cells)))
    title = (
        f"Difference from {comparison.baseline}, in points; {about}. Over users: bootstrap interval,"
        " p-values of the paired t-test and of Wilcoxon's adjusted by Holm for all rows,"
        " effect size (Cohen's d)."
    )
    header = ["Row", "Metric", "Difference", f"{comparison.level:.0%} interval"]
    header += ["p (t)", "p (Wilcoxon)", "d"]
    return _Table(markup.text(title), list(map(markup.text, header)), lines, texts=2)


def _figure(cell: Cell, markup: _Markup) -> str:
    text = _percent(cell.spread, markup)
    text = markup.bold(text) if cell.is_best else text
    return text + markup.star if cell.is_significant else text


def _cold(row: ComparedRow, markup: _Markup, column_count: int) -> list[str]:
    spreads = [] if row.cold is None else list(row.cold.values())
    return [_percent(spread, markup) for spread in spreads] or [""] * column_count


def _percent(spread: Spread, markup: _Markup) -> str:
    mean = f"{100 * spread.mean:.2f}"
    return mean if spread.sd is None else f"{mean}{markup.plus_minus}{100 * spread.sd:.2f}"


def _latex_text(text: str) -> str:
    escaped = "".join(_LATEX.get(character, character) for character in printable(text))
    # After the end of the row before, LaTeX takes a bracket for the height of a gap, and a star away.
    return f"{{}}{escaped}" if escaped.startswith(("[", "*")) else escaped


def _markdown_text(text: str) -> str:
    # The backslashes of `printable` are escaped with the others, and then read as themselves.
    return _MARKDOWN.sub(r"\\\1", printable(text))


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
