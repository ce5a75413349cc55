"""What an export has written into a folder, by which a later one knows its own files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from crossan.cache_schema.canonical import pretty_bytes
from crossan.cache_schema.errors import UsageError
from crossan.common.files import replace_durably
from crossan.common.foreign import read_json, require_shape
from crossan.common.outputs import require_outside_of_ours, require_replaceable
from crossan.common.refusals import make_folder, require_no_file

__all__ = ["RECORD_FILE", "require_room", "write_export"]

RECORD_FILE = "export.json"
_KIND = "crossan-dataset-export"


class _Record(BaseModel):
    """What is read of the record."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    kind: str
    format: str
    files: list[str]


def require_room(out: Path, format_name: str, names: Sequence[str]) -> None:
    """Refuse a folder where files of others, or of another format, would be replaced.

    Parameters
    ----------
    out
        The folder, not there yet perhaps.
    format_name
        Of the export.
    names
        Files that it will write.

    Raises
    ------
    UsageError
        The folder is a dataset, store or run, or holds something under one of the names
        that no export of this format has written.
    """
    shown_as = f"--out {out}"
    require_outside_of_ours(out, shown_as)
    require_no_file(out, shown_as)
    written = _written(out, format_name)
    for name in names:
        is_ours = (lambda _: True) if name in written else (lambda _: False)
        require_replaceable(out / name, is_ours, shown_as)


def write_export(out: Path, facts: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Write the files and the record of an export.

    Parameters
    ----------
    out
        The folder, for which `require_room` was asked.
    facts
        What the record says; ``format`` is among it.
    files
        Bytes by name.
    """
    make_folder(out)
    # The record first: it tells files that were cut off from those of others.
    record = {"kind": _KIND, **facts, "files": sorted(files)}
    replace_durably(out / RECORD_FILE, pretty_bytes(record))
    for name, data in files.items():
        replace_durably(out / name, data)


def _written(out: Path, format_name: str) -> Sequence[str]:
    """Return the files that an earlier export of the format has written."""
    path = out / RECORD_FILE
    try:
        value = read_json(path, UsageError)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    require_shape(value, _Record, str(path), UsageError)
    if value["kind"] != _KIND or value["format"] != format_name:
        raise UsageError(
            f"--out {out}: expected nothing, or an earlier export of --format {format_name}, found"
            f" one of {value['format']}",
            remedy=f"Name another: --out {out}-{format_name}",
        )
    return (*value["files"], RECORD_FILE)
