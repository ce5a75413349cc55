"""The known name that a wrong one was probably meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

__all__ = ["did_you_mean", "nearest"]


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the known name that is most like ``name``, None where none is like it.

    Dotted names are compared as a whole first. Where that finds nothing, the
    last part alone decides, as people forget the group: ``topk`` is near
    ``model.sequence.top_k``.
    """
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    if close:
        return close[0]
    last = name.rpartition(".")[2]
    for candidate in known:
        likeness = difflib.SequenceMatcher(None, candidate.rpartition(".")[2], last).ratio()
        if likeness > 0.7:
            return candidate
    return None


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return the nearest known name, or all of them, as the end of a message."""
    close = nearest(name, known)
    return f"; did you mean '{close}'?" if close else f"; known here: {', '.join(known)}"
