"""What an import, an update or a check has read, joined and left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from crossan.common.console import printable
from crossan.common.files import LARGEST_METADATA

__all__ = [
    "IMPORT_FILE",
    "Examples",
    "ImportRecord",
    "ImportReport",
    "Join",
    "MediaReading",
    "TableReading",
    "TimeRange",
    "read_record",
]

IMPORT_FILE = "import.json"
"""Where a dataset folder keeps what its import and its last update said."""
_SHOWN = 5
_LONGEST = 120


class _Said(BaseModel):
    """A part of a report.

    Of another version's report, what we do not know is left out.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class Examples(_Said):
    """How many there are, and the first of them."""

    count: int = 0
    examples: tuple[str, ...] = ()

    @classmethod
    def of(cls, texts: Iterable[str]) -> Examples:
        """Count the texts and keep the first in their order."""
        every = list(texts)
        return cls(count=len(every), examples=tuple(every[:_SHOWN]))

    def listed(self) -> str:
        """Return the examples on one line of a message, long ones cut."""
        more = ["..."] if self.count > len(self.examples) else []
        return ", ".join([*(printable(_cut(text)) for text in self.examples), *more])


class TableReading(_Said):
    """One table file as it was read."""

    file: str
    holds: str
    """"interactions", "items" or "titles"."""
    rows: int
    columns: Mapping[str, str] = {}
    """From our name of a column to its name in the file; empty for a file without a header."""
    ignored: tuple[str, ...] = ()
    """Columns of the file that were not taken."""
    unread_times: tuple[str, ...] = ()
    """Those among them that look like a time."""
    quotation: str | None = None
    """Whether quotation marks are "syntax" or part of the "text"; None without such marks."""
    notes: tuple[str, ...] = ()


class Join(_Said):
    """How many ids of one source were met in another, and which were not."""

    left: str
    right: str
    matched: int
    loosely: Mapping[str, int] = {}
    """How many of them are written differently on both sides, by the difference."""
    loose_examples: tuple[str, ...] = ()
    unmatched: Examples = Examples()
    """Of the left side."""
    unused: Examples = Examples()
    """Of the right side."""


class MediaReading(_Said):
    """The files of one modality.

    ``files`` is the sum of what was matched, second, without an item and passed over.
    """

    modality: str
    source: str
    """"folder" for files found by name, "column" for paths in a table."""
    folders: tuple[str, ...] = ()
    files: int
    join: Join
    """Items on the left, files on the right."""
    second: Examples = Examples()
    """Files for an item that has one already."""
    passed_over: Mapping[str, Examples] = {}
    """Files that were not looked at any further, by the reason."""


class TimeRange(_Said):
    """What the timestamps are, or that there are none."""

    unit: str
    """"s", "ms", "us", "ns"; "calendar" for dates and times as such; "order" for numbers that
    only order the rows; "file order" where there are none."""
    decided: str
    """How the unit was decided, in words."""
    first: str | None = None
    """UTC, ISO 8601; a plain number where the times are not dates; None for file order."""
    last: str | None = None
    doubt: str | None = None
    """What speaks against the unit."""


class ImportReport(_Said):
    """All that one import or update says."""

    command: str
    """"import" or "update"."""
    format: str
    format_decided: str
    tables: tuple[TableReading, ...] = ()
    joins: tuple[Join, ...] = ()
    media: tuple[MediaReading, ...] = ()
    times: TimeRange | None = None
    repeated_interactions: Examples = Examples()
    """Rows with the user, item and time of an earlier row; they are kept."""
    unread: Examples = Examples()
    """Files and folders beside those that were read."""
    added: Mapping[str, int] = {}
    """Of an update: how many interactions, users and items are new."""
    already_there: Mapping[str, int] = {}
    """Of an update: how many rows of the log and of the items the dataset had."""
    replaced: Mapping[str, Examples] = {}
    """Of an update: items whose title or medium is another now, by column."""

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return self.model_dump(mode="json")


class ImportRecord(_Said):
    """The content of ``import.json``."""

    imported: ImportReport | None = None
    updated: ImportReport | None = None
    """The last update since."""
    updates: int = 0

    def to_bytes(self) -> bytes:
        """Return the content of ``import.json``."""
        return self.model_dump_json(indent=2).encode() + b"\n"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def read_record(path: Path) -> ImportRecord:
    """Read the ``import.json`` of a dataset.

    A folder that was made otherwise, or whose record is damaged, has an empty
    record: nothing but what is printed depends on it.
    """
    try:
        # A pipe would never end, and what is that large is not ours.
        if not path.is_file() or path.stat().st_size > LARGEST_METADATA:
            return ImportRecord()
        return ImportRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return ImportRecord()
