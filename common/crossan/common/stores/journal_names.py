"""The names of journal folders, which say who owns a journal.

As the owner is a part of the name, one rename takes a journal over.
"""

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
    r"(?P<job>[0-9a-f]{12})"
    r"\.(?P<owner>free|[0-9a-f]{24}-[0-9]+-[0-9]+)"
    r"\.(?P<segment>[0-9T]{15}-[0-9a-f]{16})"
)


@dataclass(frozen=True, slots=True)
class JournalName:
    """The three facts in the name of a journal's folder.

    They are the digest of the job, the owner, and the id of the segment that the journal
    will become.
    """

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
    """Whether nobody can be working on the journal in ``folder`` any more.

    It was closed, or its owner has ended.

    Raises
    ------
    FileNotFoundError
        The journal is missing, and its owner is on another host.
    """
    if owner == FREE:
        return True
    # Appending touches the log and not the folder, so the log shows that its owner works.
    log = folder / "journal.log"
    return has_ended(owner, log if log.exists() else folder)
