"""Adding a log of more interactions, more items and more media to a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from crossan.cache_schema.errors import UsageError
from crossan.common.datasets.folder import (
    INTERACTION_SCHEMA,
    ITEM_SCHEMA,
    Dataset,
    file_of,
    open_dataset,
    write_dataset,
)
from crossan.common.datasets.formats import ImportSource
from crossan.common.datasets.formats.source import FILE_MODALITIES
from crossan.common.datasets.formats.tabular import require_used, tables_of
from crossan.common.datasets.importing import (
    add_files,
    add_unlisted,
    join_interactions,
    may_be_missing,
    repeated_rows,
    requested,
    require_contents,
)
from crossan.common.datasets.joins import join_of, match_ids
from crossan.common.datasets.log_rows import is_new, join_users
from crossan.common.datasets.media_paths import look_for_paths
from crossan.common.datasets.report import (
    IMPORT_FILE,
    Examples,
    ImportRecord,
    ImportReport,
    Join,
    read_record,
)
from crossan.common.datasets.time_ranges import time_range
from crossan.common.datasets.typed_tables import PART_COLUMN

__all__ = ["update_dataset"]

_CONTENTS = ("title", *(modality.value for modality in FILE_MODALITIES))


def update_dataset(root: Path, source: ImportSource) -> tuple[Dataset, ImportReport]:
    """Add interactions, items and media to a dataset in its folder.

    Rows and items that the dataset has already are counted and left out, so that
    logs may overlap. A title or a medium that is another now replaces that of
    before; an empty one does not. Where nothing is new nothing is written.

    Parameters
    ----------
    root
        The dataset folder.
    source
        What to add. Its ``root`` does not count.

    Returns
    -------
    tuple
        The dataset as it is now, and what was done.

    Raises
    ------
    UsageError
        There is no dataset, or nothing to add was named, or interactions were of a dataset
        that says the part of each of its own.
    DataError
        A table that cannot be read, or that has no id in common with the dataset.
    BusyError
        Another process has written the dataset meanwhile.
    """
    if not any((source.interactions, source.sequences, source.items, source.media)):
        raise UsageError(
            "nothing to add: expected --interactions, --sequences, --items, "
            "or a folder of --images, --video or --audio"
        )
    dataset = open_dataset(root)
    _require_parts(dataset, source)
    interactions, known_items = dataset.interactions(), dataset.items()
    tables = tables_of(source, source.interactions, source.items)
    require_used(source.columns, tables.readings)
    folders = requested(source)
    paths = look_for_paths(
        tables.items, tables.readings, may_be_missing=may_be_missing(source, folders)
    )
    items = _Items(dataset, known_items)
    item_join = items.add(tables.items)
    where = str(root) if source.items is None else f"{root} and {source.items.name}"
    log, log_join = join_interactions(tables, items.ids, where)
    log, user_join = join_users(log, interactions)
    flags = is_new(log, interactions)
    added = log.filter(pa.array(flags)).cast(INTERACTION_SCHEMA)
    with_unlisted = add_unlisted(items.table(), added.column("item_id"))
    with_files, files = add_files(with_unlisted, folders, source.media)
    after = items.with_files(with_unlisted, with_files)
    require_contents(tables, files)
    users = set(interactions.column("user_id").unique().to_pylist())
    report = ImportReport(
        command="update",
        format="table",
        format_decided="the files that were named",
        tables=tables.readings,
        joins=tuple(join for join in (item_join, log_join, user_join) if join is not None),
        media=(*paths, *files),
        times=time_range(tables.times) if log.num_rows else None,
        repeated_interactions=repeated_rows(log),
        added={
            "interactions": added.num_rows,
            "users": len(set(added.column("user_id").unique().to_pylist()) - users),
            "items": after.num_rows - known_items.num_rows,
        },
        already_there={
            "interactions": int(np.count_nonzero(~flags)),
            "items": items.unchanged,
        },
        replaced={name: Examples.of(texts) for name, texts in items.replaced.items() if texts},
    )
    if after.equals(known_items) and not added.num_rows:
        return dataset, report
    record = read_record(file_of(dataset, IMPORT_FILE))
    written = write_dataset(
        dataset.root,
        name=dataset.name,
        source_format=dataset.source_format,
        licence=dataset.licence,
        interactions=pa.concat_tables([interactions, added]) if len(added) else interactions,
        items=after,
        record=ImportRecord(
            imported=record.imported, updated=report, updates=record.updates + 1
        ).to_bytes(),
        is_replaced=True,
        basis=dataset,
    )
    return written, report


def _require_parts(dataset: Dataset, source: ImportSource) -> None:
    """Refuse interactions that would have no part, and parts of those that are added."""
    if PART_COLUMN in source.columns:
        raise UsageError(
            f"--column part={source.columns[PART_COLUMN]}: expected no parts of rows that are added",
            remedy="Import all anew with its labels: crossan data import --replace",
        )
    log = source.interactions or source.sequences
    if dataset.parts is not None and log is not None:
        raise UsageError(
            f"{log}: expected no interactions for {dataset.root}, which carries its own split:"
            " in which part these would be, nobody has said",
            remedy="Add their lines, with labels, to the files it was imported from, and import"
            " these: crossan data import --replace",
        )


class _Items:
    """The items of a dataset while others are added."""

    def __init__(self, dataset: Dataset, before: pa.Table) -> None:
        self.dataset = dataset
        self.replaced: dict[str, list[str]] = {name: [] for name in _CONTENTS}
        self.unchanged = 0
        self._known_count = before.num_rows
        self._columns: dict[str, list[Any]] = {
            name: before.column(name).to_pylist() for name in ITEM_SCHEMA.names
        }
        self._row_of = {item: row for row, item in enumerate(self.ids)}

    @property
    def ids(self) -> list[str]:
        """The item ids, those of the dataset first."""
        ids: list[str] = self._columns["item_id"]
        return ids

    def table(self) -> pa.Table:
        """Return the items as they are now."""
        return pa.table(self._columns, ITEM_SCHEMA)

    def add(self, more: pa.Table) -> Join | None:
        """Add new items, and give known ones what is another now."""
        if not more.num_rows:
            return None
        ids = more.column("item_id").to_pylist()
        known = list(self.ids)
        matching = match_ids(ids, known)
        for row in more.to_pylist():
            item = matching.partners.get(row["item_id"])
            if item is None:
                for name in ITEM_SCHEMA.names:
                    self._columns[name].append(row[name])
                self._row_of[row["item_id"]] = len(self._row_of)
            else:
                self._change(item, row)
        join = join_of("items to add", "items of the dataset", ids, known, matching)
        # That the dataset has other items, too, is what an update is about.
        return join.model_copy(update={"unused": Examples()})

    def with_files(self, before: pa.Table, after: pa.Table) -> pa.Table:
        """Return the items after their files were looked for, and note those that changed.

        A file that the dataset names already keeps its name.
        """
        for column, modality in enumerate(FILE_MODALITIES, ITEM_SCHEMA.names.index("image")):
            was, now = (table.column(modality).to_pylist() for table in (before, after))
            for row, (old, new) in enumerate(zip(was, now, strict=True)):
                if new is None or self._is_same(modality, old, new):
                    now[row] = old
                elif row < self._known_count:
                    self.replaced[modality].append(_change(self.ids[row], old, new))
            after = after.set_column(column, modality.value, pa.array(now, pa.string()))
        return after

    def _change(self, item: str, row: dict[str, str | None]) -> None:
        position = self._row_of[item]
        is_same = True
        for name in _CONTENTS:
            was, now = self._columns[name][position], row[name]
            if not (now and now.strip()) or self._is_same(name, was, now):
                continue
            is_same = False
            self.replaced[name].append(_change(item, was, now))
            self._columns[name][position] = now
        self.unchanged += is_same

    def _is_same(self, name: str, was: str | None, now: str) -> bool:
        if was is None or was == now or name == "title":
            return was == now
        # The dataset may name its files relative to its folder.
        return str(self.dataset.media_path(was)) == now


def _change(item: str, was: str | None, now: str | None) -> str:
    return f"{item}: {was or 'none'} -> {now}"
