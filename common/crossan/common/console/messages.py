"""Lines for people on stderr, and the one line for machines on stdout."""

from __future__ import annotations

import json
import sys

__all__ = ["note", "print_json"]


def note(message: str) -> None:
    """Print one line for people on stderr."""
    print(message, file=sys.stderr, flush=True)


def print_json(value: object) -> None:
    """Print ``value`` as the one JSON line on stdout that ``--json`` promises."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False), flush=True)
