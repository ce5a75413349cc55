"""Who owns a staging journal, told by its folder's name, so that one rename takes it over."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from crossan.cache_schema.canonical import sha256_hex
from crossan.common.owners import has_ended

__all__ = ["JournalName", "is_abandoned", "job_digest"]

FREE = "free"
"""Owner of a journal that was closed with items in it."""
_NAME = re.compile(
    r"(?P<job>[0-9a-f]{12})\.(?P<owner>free|[0-9a-f]{24}-[0-9]+-[0-9]+)\.(?P<segment>[0-9T]{15}-[0-9a-f]{16})"
)


@dataclass(frozen=True, slots=True)
class JournalName:
    """The three facts in a journal folder's name: digest of the job, owner, id of the segment it will become."""

    job: str
    owner: str
    segment_id: str

    def __str__(self) -> str:
        """Return the folder's name."""
        return f"{self.job}.{self.owner}.{self.segment_id}"

    @classmethod
    def parse(cls, name: str) -> JournalName | None:
        """Read a folder's name, None where it is no journal's."""
        match = _NAME.fullmatch(name)
        return cls(match["job"], match["owner"], match["segment"]) if match else None


def job_digest(job: str) -> str:
    """Return the digest of a job's name that stands in its journal's folder name."""
    return sha256_hex(job.encode())[:12]


def is_abandoned(folder: Path, owner: str) -> bool:
    """Whether nobody can be working on the journal in ``folder`` any more: it was closed, or its owner has ended.

    Raises
    ------
    FileNotFoundError
        The journal is gone, and its owner of another host.
    """
    if owner == FREE:
        return True
    log = folder / "journal.log"
    return has_ended(owner, log if log.exists() else folder)
