"""A comparison in a file, in the place of an earlier one and of nothing else."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from crossan.common.files import replace_durably
from crossan.common.outputs import require_outside_of_ours, require_replaceable
from crossan.common.refusals import make_folder
from crossan.train.comparison.machines import CSV_BEGINS, JSON_BEGINS, as_csv, json_text
from crossan.train.comparison.markup import LATEX_BEGINS, MARKDOWN_BEGINS, as_latex, as_markdown
from crossan.train.comparison.measuring import Comparison
from crossan.train.comparison.printing import print_comparison
from crossan.train.comparison.words import TEXT_BEGINS

__all__ = ["require_place", "text_of", "write_comparison"]

_BEGINNINGS = tuple(
    begin.encode()
    for begin in (TEXT_BEGINS, JSON_BEGINS, CSV_BEGINS, LATEX_BEGINS, MARKDOWN_BEGINS)
)
_WRITERS = {
    "json": json_text,
    "csv": as_csv,
    "latex": as_latex,
    "markdown": as_markdown,
}


def require_place(out: Path) -> None:
    """Refuse a file that an earlier comparison was not written to.

    Raises
    ------
    UsageError
        Something else lies there, or it is inside a store, dataset, run or sweep.
    """
    shown_as = f"--out {out}"
    require_outside_of_ours(out.parent, shown_as)
    require_replaceable(out, lambda start: start.startswith(_BEGINNINGS), shown_as)


def text_of(comparison: Comparison, output_format: str) -> str:
    """Return a comparison as the text of a file."""
    if output_format in _WRITERS:
        return _WRITERS[output_format](comparison)
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        print_comparison(comparison)
    return text.getvalue()


def write_comparison(comparison: Comparison, output_format: str, out: Path) -> None:
    """Write a comparison, whole or not at all.

    Raises
    ------
    ResourceError
        The system refuses.
    """
    make_folder(out.parent)
    replace_durably(out, text_of(comparison, output_format).encode())
