"""When rows are written, told so that no clock can put them before what their writer knew."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.segment import new_stamp
from crossan.common.files import read_regular
from crossan.common.stores.segments import read_record
from crossan.common.stores.versions import list_versions, read_manifest

__all__ = ["next_stamp"]


def next_stamp(folder: Path) -> int:
    """Return a stamp for a segment that is about to be written: higher than all in the newest version of a store.

    Raises
    ------
    StoreIntegrityError
        A segment of the newest version is damaged: what is written now might not win over it.
    """
    while True:
        found = list_versions(folder)
        if not found:
            return new_stamp(0)
        read = partial(read_regular, folder)
        try:
            records = [
                read_record(read, entry, str(folder))
                for entry in read_manifest(folder, found[-1]).segments
            ]
        except StoreIntegrityError:
            if list_versions(folder)[-1] == found[-1]:
                raise
            continue  # compacted and collected while we looked
        return new_stamp(max((record.stamp for record in records), default=0))
