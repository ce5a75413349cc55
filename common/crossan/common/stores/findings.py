"""What a check of a store has to say."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Problem", "Report"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, with a code for machines and what to do."""

    code: str
    where: str
    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify` or `fsck` found out about the newest version of a store."""

    problems: tuple[Problem, ...]
    items: int
    """Items in the indexes that could be read, superseded ones counted once."""
    segments: int
    bytes_read: int

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON that ``crossan cache verify`` prints."""
        return {
            "ok": self.ok,
            "problems": [asdict(problem) for problem in self.problems],
            "items": self.items,
            "segments": self.segments,
            "bytes_read": self.bytes_read,
        }
