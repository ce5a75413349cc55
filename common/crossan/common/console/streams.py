"""What a stream can show: colours and a live line on a terminal, plain text elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import unicodedata
from pathlib import Path
from typing import TextIO

__all__ = [
    "broken_between_words",
    "is_terminal",
    "never_fail_to_encode",
    "open_closed_streams",
    "printable",
]

_TERMINALS_THAT_CANNOT_DRAW = {"dumb", "unknown"}
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode categories: control characters, lone surrogates, separators of lines and paragraphs."""
_TURNING = {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}
"""Characters that turn the direction of all that follows them."""


def is_terminal(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that can draw."""
    return stream.isatty() and os.environ.get("TERM") not in _TERMINALS_THAT_CANNOT_DRAW


def open_closed_streams() -> None:
    """Let stdout and stderr go nowhere where the process was started without them."""
    for name in ("stdout", "stderr"):
        # Python has None in the place of a stream whose descriptor was closed, as `>&-` does.
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115


def never_fail_to_encode() -> None:
    """Let stdout write as an escape what its encoding lacks, as stderr does."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


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
        repr(sign)[1:-1] if sign in _TURNING or unicodedata.category(sign) in _UNPRINTABLE else sign
        for sign in text
    )
