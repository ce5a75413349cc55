"""Stamps for new rows, which no clock can put before what their writer knew."""

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
    """Return a stamp for a segment that is about to be written.

    It is higher than all stamps in the newest version of the store.

    Raises
    ------
    StoreIntegrityError
        A segment of the newest version is damaged. What is written now might not win over it.
    """
    while True:
        versions = list_versions(folder)
        if not versions:
            return new_stamp(0)
        read = partial(read_regular, folder)
        try:
            records = [
                read_record(read, entry, str(folder))
                for entry in read_manifest(folder, versions[-1]).segments
            ]
        except StoreIntegrityError:
            # A segment that is missing was perhaps compacted and collected while we looked. A
            # newer version says so, and is read instead.
            if list_versions(folder)[-1] == versions[-1]:
                raise
            continue
        return new_stamp(max((record.stamp for record in records), default=0))
