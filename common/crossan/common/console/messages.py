"""Lines for people on stderr, and the one line for machines on stdout."""

from __future__ import annotations

import json
import sys

from crossan.common.console.screen import screen
from crossan.common.console.streams import broken_between_words, is_terminal, printable_lines

__all__ = ["heading", "note", "print_json", "print_text"]


def note(message: str) -> None:
    """Print one line for people on stderr."""
    screen.say(message)


def heading(message: str) -> None:
    """Print a line on stderr that begins a step, after an empty one; bold on a terminal."""
    if is_terminal(sys.stderr):
        from crossan.common.console.drawing import drawing_on

        text = printable_lines(f"\n{message}")
        drawing_on(sys.stderr).print(text, style="bold", soft_wrap=True)
    else:
        note(f"\n{message}")


def print_text(message: str) -> None:
    """Print a result in words on stdout; on a terminal its lines are broken between words."""
    text = printable_lines(message)
    print(broken_between_words(text) if is_terminal(sys.stdout) else text, flush=True)


def print_json(value: object) -> None:
    """Print ``value`` as the one JSON line on stdout that ``--json`` promises.

    What the encoding of stdout lacks is escaped as JSON escapes it.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, allow_nan=False)
    print(text, flush=True)
