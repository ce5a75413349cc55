"""Writing what the protocol keeps of a dataset as other programs read it.

``mmrec`` is one ``.inter`` with numbers for users and items and a column of
parts, and two tables of whose each number is. ``recbole`` is RecBole's atomic
files: all interactions, those of each part for its ``benchmark_filename``, and the
titles of the items.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crossan.cache_schema.errors import DataError
from crossan.cache_schema.item_id import shortened
from crossan.common.datasets.export_record import require_room, write_export
from crossan.common.datasets.folder import Dataset
from crossan.common.datasets.item_numbers import MAPPING_FILE, item_numbers, mapping_text
from crossan.common.datasets.keeping import keep_rows
from crossan.common.datasets.own_split import PART_NAMES
from crossan.common.datasets.protocol import KeptSequences, sequences_digest
from crossan.common.split import Split

__all__ = ["ExportFormat", "Exported", "export_dataset"]

ExportFormat = Literal["mmrec", "recbole"]

_BREAK = re.compile(r"[\t\n\r]")


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    facts: Mapping[str, Any]
    """What ``export.json`` says."""
    files: Sequence[Path]


def export_dataset(
    dataset: Dataset,
    out: Path,
    format_name: ExportFormat,
    *,
    max_items: int,
    min_items: int,
    split: Split,
) -> Exported:
    """Write what the protocol keeps of a dataset.

    Files are named as the folder is, for there both programs look for them.

    Parameters
    ----------
    dataset
        What is exported.
    out
        Folder. Files of an earlier export of the format are replaced.
    format_name
        ``mmrec`` or ``recbole``.
    max_items, min_items, split
        The protocol, see `keep_sequences`.

    Raises
    ------
    DataError
        No user is left, or an id holds a tab or ends a line.
    UsageError
        The folder holds files of others.
    """
    interactions = dataset.interactions()
    kept, rows = keep_rows(interactions, max_items=max_items, min_items=min_items, split=split)
    for what, ids in (("user", kept.user_ids), ("item", kept.item_ids)):
        _require_one_field(what, ids.tolist(), dataset)
    stem = out.absolute().name
    times = _times(interactions.column("timestamp").take(pa.array(rows)))
    table = _Rows(kept, np.repeat(np.arange(len(kept.user_ids)), np.diff(kept.offsets)), times)
    facts: dict[str, Any] = {
        "format": format_name,
        **_facts(dataset, interactions, table),
        "max_items": max_items if split.is_by_time else None,
        "min_items": None if split.name == "fixed" else min_items,
    }
    if format_name == "mmrec":
        files = _mmrec_files(table, stem, out)
    else:
        files, changed_titles = _recbole_files(table, stem, dataset)
        facts["changed_titles"] = changed_titles
    require_room(out, format_name, [name for name in files if name != MAPPING_FILE])
    write_export(out, facts, files)
    return Exported(facts, [out / name for name in files])


@dataclass(frozen=True, slots=True)
class _Rows:
    """The kept interactions, user after user and each user's oldest first."""

    kept: KeptSequences
    users: np.ndarray
    """User of each, ``(interactions,)``."""
    times: Sequence[int] | None
    """Milliseconds of each; None where they are not known of all."""


def _facts(dataset: Dataset, interactions: pa.Table, table: _Rows) -> dict[str, Any]:
    kept = table.kept
    users, items = (len(pc.unique(interactions.column(name))) for name in ("user_id", "item_id"))
    return {
        "dataset": dataset.name,
        "digest": dataset.digest,
        "licence": dataset.licence,
        **kept.split.facts(),
        "sequences": sequences_digest(kept),
        "users": len(kept.user_ids),
        "items": len(kept.item_ids),
        "interactions": len(kept.items),
        "parts": {name: int((kept.parts == part).sum()) for name, part in PART_NAMES.items()},
        "left_out": {
            "users": users - len(kept.user_ids),
            "items": items - len(kept.item_ids),
            "interactions": interactions.num_rows - len(kept.items),
        },
        "has_timestamps": table.times is not None,
    }


def _times(column: pa.ChunkedArray) -> list[int] | None:
    # A user without them is in the order of the file, in which the rows are written.
    if column.null_count:
        return None
    times: list[int] = column.to_pylist()
    return times


def _mmrec_files(table: _Rows, stem: str, out: Path) -> dict[str, bytes]:
    kept = table.kept
    numbers = item_numbers(out / MAPPING_FILE, kept.item_ids)
    columns: dict[str, Iterable[object]] = {
        "userID": table.users.tolist(),
        "itemID": numbers[kept.items].tolist(),
        **({} if table.times is None else {"timestamp": table.times}),
        "x_label": kept.parts.tolist(),
    }
    users = enumerate(kept.user_ids.tolist())
    files = {
        "u_id_mapping.csv": mapping_text("user_id", "userID", ((name, n) for n, name in users)),
        f"{stem}.inter": _table(columns),
    }
    if not (out / MAPPING_FILE).exists():
        items = zip(kept.item_ids.tolist(), numbers.tolist(), strict=True)
        files[MAPPING_FILE] = mapping_text("item_id", "itemID", items)
    return files


def _recbole_files(table: _Rows, stem: str, dataset: Dataset) -> tuple[dict[str, bytes], int]:
    """Return the files, and how many titles held a tab or a line's end."""
    kept = table.kept
    columns: dict[str, Sequence[object]] = {
        "user_id:token": kept.user_ids[table.users].tolist(),
        "item_id:token": kept.item_ids[kept.items].tolist(),
        **({} if table.times is None else {"timestamp:float": table.times}),
    }
    files = {f"{stem}.inter": _table(columns)}
    for name, part in PART_NAMES.items():
        rows = np.flatnonzero(kept.parts == part).tolist()
        chosen = {column: [values[row] for row in rows] for column, values in columns.items()}
        files[f"{stem}.{name}.inter"] = _table(chosen)
    listed = dataset.items()
    titles = dict(
        zip(listed.column("item_id").to_pylist(), listed.column("title").to_pylist(), strict=True)
    )
    as_stored = [titles.get(item) or "" for item in kept.item_ids.tolist()]
    plain = [_BREAK.sub(" ", title) for title in as_stored]
    files[f"{stem}.item"] = _table(
        {"item_id:token": kept.item_ids.tolist(), "title:token_seq": plain}
    )
    return files, sum(before != after for before, after in zip(as_stored, plain, strict=True))


def _table(columns: Mapping[str, Iterable[object]]) -> bytes:
    """Return a table as text, with tabs between fields.

    A field with a quotation mark is quoted as RFC 4180 says, which pandas and our
    importer read; with ids and titles of which none has one there is no mark at all.
    """
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue().encode()


def _require_one_field(what: str, ids: Sequence[str], dataset: Dataset) -> None:
    broken = [name for name in ids if _BREAK.search(name)]
    if broken:
        raise DataError(
            f"{dataset.root}: expected {what} ids without a tab or a line's end, which part the"
            f" fields of a text table, found {len(broken):,}, first: {shortened(broken[0])}",
            remedy="Import the dataset with other ids: crossan data import",
        )
