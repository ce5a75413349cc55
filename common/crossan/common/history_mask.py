"""Which items an evaluation leaves out."""

from __future__ import annotations

from typing import Literal

__all__ = ["HistoryMask"]

HistoryMask = Literal["all", "unseen-only", "none"]
"""Which of a user's items before the target are left out of the ranking.

That is all of them, all but the target itself where it repeats, or none."""
