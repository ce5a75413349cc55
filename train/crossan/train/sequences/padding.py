"""Padding of sequences that are shorter than the model reads."""

from __future__ import annotations

__all__ = ["PADDING"]

PADDING = -1
"""The entry of a sequence where there is no item."""
