"""The dataset folder with ``dataset.json``, ``interactions.parquet``, ``items.parquet``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from crossan.cache_schema.errors import BusyError, UsageError
from crossan.common.datasets.description import FORMAT_VERSION, read_description
from crossan.common.datasets.own_split import part_counts
from crossan.common.datasets.publishing import publish_files
from crossan.common.datasets.typed_tables import (
    INTERACTION_SCHEMA,
    ITEM_SCHEMA,
    PART_COLUMN,
    PARTED_SCHEMA,
    read_typed,
    typed,
)
from crossan.common.refusals import require_writable

__all__ = [
    "INTERACTION_SCHEMA",
    "ITEM_SCHEMA",
    "Dataset",
    "file_of",
    "open_dataset",
    "refuse_existing",
    "tables_digest",
    "write_dataset",
]

_TABLE_FILES = ("interactions.parquet", "items.parquet", "import.json")


@dataclass(frozen=True, slots=True)
class Dataset:
    """An opened dataset folder.

    Its tables are read anew at every call.
    """

    root: Path
    name: str
    source_format: str
    licence: str
    counts: Mapping[str, int]
    digest: str
    """SHA-256 over both tables' values in file order, 64 hexadecimal digits."""
    tables: str | None = None
    """Folder below ``root`` with the tables of a write that was cut off, see `publish_files`."""
    parts: Mapping[str, int] | None = None
    """Interactions in each part of a split of its own, None without one."""

    def interactions(self) -> pa.Table:
        """Return ``user_id``, ``item_id``, ``timestamp`` in file order.

        With a split of its own ``part`` is a fourth column.
        """
        return self._read(
            "interactions", INTERACTION_SCHEMA if self.parts is None else PARTED_SCHEMA
        )

    def items(self) -> pa.Table:
        """Return ``item_id``, ``title``, ``image``, ``video``, ``audio`` in file order."""
        return self._read("items", ITEM_SCHEMA)

    def media_path(self, path: str) -> Path:
        """Return the full path of a medium that the items table names."""
        return self.root / path

    def _read(self, what: str, schema: pa.Schema) -> pa.Table:
        return read_typed(file_of(self, f"{what}.parquet"), schema, self.counts.get(what, 0))


def file_of(dataset: Dataset, name: str) -> Path:
    """Return where a file of a dataset folder lies."""
    # A file that is no longer on its way has been moved to its usual name.
    on_its_way = dataset.root / (dataset.tables or "") / name
    return on_its_way if on_its_way.exists() else dataset.root / name


def open_dataset(root: Path | str) -> Dataset:
    """Open a dataset folder.

    Raises
    ------
    UsageError
        There is no dataset at ``root``.
    DataError
        ``dataset.json`` does not describe a dataset.
    ResourceError
        The system refuses to read it.
    """
    root = Path(root)
    try:
        described = read_description(root / "dataset.json")
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"no dataset at {root}: expected a folder with dataset.json, found none",
            remedy=f"Name a dataset folder, or make one: crossan data import SRC --out {root}",
        ) from None
    return Dataset(
        root=root.absolute(),
        name=described.name,
        source_format=described.source_format,
        licence=described.licence,
        counts=described.counts,
        digest=described.digest,
        tables=described.tables,
        parts=described.parts,
    )


def write_dataset(
    out: Path,
    *,
    name: str,
    source_format: str,
    licence: str,
    interactions: pa.Table,
    items: pa.Table,
    record: bytes | None = None,
    is_replaced: bool = False,
    basis: Dataset | None = None,
) -> Dataset:
    """Write a dataset folder.

    Files in ``out`` that are not ours, such as media, stay. Cut off at any moment,
    the folder holds what it held before, or all that is new.

    Parameters
    ----------
    out
        The folder, made where it does not exist.
    name, source_format, licence
        Content of ``dataset.json``.
    interactions, items
        Tables with the columns of `INTERACTION_SCHEMA` and `ITEM_SCHEMA`, in types that
        can become theirs. With those of `PARTED_SCHEMA` the dataset has a split of its own.
    record
        Content of ``import.json``; None for no such file.
    is_replaced
        Whether a dataset in ``out`` gives way to this one.
    basis
        The dataset in ``out`` that the new one was made from; None for any.

    Raises
    ------
    UsageError
        There is a dataset in ``out`` already, and it is not to be replaced.
    DataError
        A repeated item id, or a value that is none, such as an id of more than 1,024
        bytes. The message names column and row.
    BusyError
        Another process writes a dataset there, or has written another than ``basis``.
    ResourceError
        The disk is full.
    """
    refuse_existing(out, is_replaced=is_replaced)
    schema = PARTED_SCHEMA if PART_COLUMN in interactions.column_names else INTERACTION_SCHEMA
    interactions = typed(interactions, schema, out / "interactions.parquet")
    parts = part_counts(interactions)
    items = typed(items, ITEM_SCHEMA, out / "items.parquet")
    description = {
        "format_version": FORMAT_VERSION,
        "name": name,
        "source_format": source_format,
        "licence": licence,
        "counts": {
            "users": len(interactions.column("user_id").unique()),
            "items": items.num_rows,
            "interactions": interactions.num_rows,
        },
        "digest": tables_digest(interactions, items),
        **({} if parts is None else {"parts": parts}),
    }
    files = {
        "interactions.parquet": lambda path: _write_parquet(interactions, path),
        "items.parquet": lambda path: _write_parquet(items, path),
    }
    if record is not None:
        files["import.json"] = lambda path: path.write_bytes(record)

    def check_basis() -> None:
        if basis is not None and open_dataset(out).digest != basis.digest:
            raise BusyError(
                f"{out}: another process has written this dataset meanwhile",
                remedy="Run the same command again",
            )

    publish_files(out, description, files, check_basis)
    return open_dataset(out)


def refuse_existing(out: Path, *, is_replaced: bool = False) -> None:
    """Refuse a folder that holds a dataset, or that cannot be written to.

    Parameters
    ----------
    out
        Where a dataset is to be written.
    is_replaced
        Whether a dataset that is there already may be replaced.

    Raises
    ------
    UsageError
        There is a dataset.
    ResourceError
        There is a file, or the system lets nothing be written.
    """
    if (out / "dataset.json").exists() and not is_replaced:
        raise UsageError(
            f"--out {out}: a dataset is in this folder already",
            remedy="Choose another folder; crossan data import can put another in its place, "
            "with --replace",
        )
    foreign = [name for name in _TABLE_FILES if (out / name).exists()]
    if foreign and not (out / "dataset.json").exists():
        raise UsageError(
            f"--out {out}: {foreign[0]} is in this folder and no dataset.json: it is not ours",
            remedy="Choose another folder, or move the file elsewhere",
        )
    require_writable(out, f"--out {out}")


def _write_parquet(table: pa.Table, path: Path) -> None:
    # With a checksum of each page, by which `opened_parquet` sees that a byte has changed.
    pq.write_table(table, path, write_page_checksum=True)


def tables_digest(interactions: pa.Table, items: pa.Table) -> str:
    """Return the digest that ``dataset.json`` records of both tables, see `Dataset`."""
    digest = hashlib.sha256()
    for table in (interactions, items):
        for name in table.column_names:
            for value in table.column(name).to_pylist():
                # The length before each value keeps "ab", "c" apart from "a", "bc". 0xff is no
                # UTF-8, so a null differs from every text.
                encoded = b"\xff" if value is None else str(value).encode()
                digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()
