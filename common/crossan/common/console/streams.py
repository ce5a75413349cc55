"""What a stream can show: colours and a live line on a terminal, plain text elsewhere."""

from __future__ import annotations

import os
import shutil
import textwrap
import unicodedata
from typing import TextIO

__all__ = ["broken_between_words", "is_terminal", "printable", "printable_lines"]

_TERMINALS_THAT_CANNOT_DRAW = {"dumb", "unknown"}
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode categories: control characters, lone surrogates, separators of lines and paragraphs."""
_UNSEEN = {
    *"\u061c\u200b\u200e\u200f\ufeff",
    *map(chr, range(0x202A, 0x202F)),
    *map(chr, range(0x2060, 0x2070)),
    *map(chr, range(0xFFF9, 0xFFFC)),
    *map(chr, range(0xE0000, 0xE0080)),
}
"""Characters without a width of their own that turn the direction of what follows, or hide text.

The two joiners are not among them: emoji and several scripts are spelled with them.
"""


def is_terminal(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that can draw."""
    return stream.isatty() and os.environ.get("TERM") not in _TERMINALS_THAT_CANNOT_DRAW


def broken_between_words(message: str) -> str:
    """Return a message whose lines fit the terminal where their words do; words stay whole."""
    width = shutil.get_terminal_size().columns
    return "\n".join(
        part
        for line in message.split("\n")
        for part in textwrap.wrap(
            line, width, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
        )
        or [""]
    )


def printable(text: str) -> str:
    """Return a text on one line, with escapes for what would move the cursor or turn the line."""
    if text.isprintable() and text.isascii():
        return text
    return "".join(
        repr(sign)[1:-1] if sign in _UNSEEN or unicodedata.category(sign) in _UNPRINTABLE else sign
        for sign in text
    )


def printable_lines(text: str) -> str:
    """Return a text with its line breaks, every line of it as `printable` returns it."""
    return "\n".join(map(printable, text.split("\n")))
