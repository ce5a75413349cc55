"""What the paper says of a setting."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Paper"]


@dataclass(frozen=True, slots=True)
class Paper:
    """Mark a setting with the paper's value, as ``Annotated[int, Paper("512")]``.

    A setting without the mark is one that the paper leaves open, or that has
    nothing to do with it.
    """

    value: str = ""
    """The value that the paper uses; empty where it gives none."""

    searched: str = ""
    """The values among which the paper searches; empty where it gives none."""

    def __str__(self) -> str:
        """Return both for people."""
        searched = f"searched {self.searched}" if self.searched else ""
        return "; ".join(filter(None, (self.value, searched)))
