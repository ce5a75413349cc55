"""A report of an import, an update or a check, in words on stdout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from crossan.common.console import (
    Column,
    note,
    print_fields,
    print_json,
    print_table,
    print_text,
    printable,
)
from crossan.common.datasets.folder import Dataset
from crossan.common.datasets.report import (
    Examples,
    ImportReport,
    Join,
    MediaReading,
    TableReading,
    TimeRange,
)

__all__ = ["print_import", "print_times", "print_written"]


def print_written(dataset: Dataset, report: ImportReport, *, as_json: bool) -> None:
    """Print what a command has made of a dataset folder, and what it says of that."""
    if as_json:
        print_json(
            {
                "dataset": str(dataset.root),
                "name": dataset.name,
                **dataset.counts,
                "report": report.to_dict(),
            }
        )
        return
    counts = ", ".join(f"{count:,} {what}" for what, count in dataset.counts.items())
    print_text(f"{dataset.root}: {counts}")
    print_import(report)
    note(f"licence: {dataset.licence}")


def print_import(report: ImportReport) -> None:
    """Print what an import or an update has read, joined and left out."""
    print_fields(
        [
            ("format", f"{report.format} ({report.format_decided})"),
            *((table.holds, _table_line(table)) for table in report.tables),
            *((media.modality, _media_line(media)) for media in report.media),
            *([] if report.times is None else [("times", _times_line(report.times))]),
            *_change_lines(report),
        ]
    )
    joins = [*report.joins, *(media.join for media in report.media)]
    if joins:
        columns = ("matched", "loosely", "unmatched", "unused")
        print_table(
            [Column("join"), *(Column(name, is_number=True) for name in columns)],
            [_join_row(join) for join in joins],
        )
    for line in _remarks(report):
        print_text(printable(line))


def print_times(times: TimeRange) -> None:
    """Print the range of the timestamps of a dataset."""
    print_fields([("times", _times_line(times))])


def _table_line(table: TableReading) -> str:
    columns = ", ".join(
        ours if ours == theirs else f"{ours}={theirs}" for ours, theirs in table.columns.items()
    )
    ignored = f"; ignored: {', '.join(table.ignored)}" if table.ignored else ""
    marks = {"syntax": "quotation marks quote fields", "text": "quotation marks are part of texts"}
    quotation = [] if table.quotation is None else [marks.get(table.quotation, table.quotation)]
    notes = "".join(f"; {text}" for text in (*quotation, *table.notes))
    return f"{Path(table.file).name}: {table.rows:,} rows; {columns or 'no header'}{ignored}{notes}"


def _media_line(media: MediaReading) -> str:
    if media.source == "column":
        return f"{media.files:,} paths in the items table"
    names = ", ".join(Path(folder).name for folder in media.folders)
    return f"{names}: {media.files:,} files"


def _times_line(times: TimeRange) -> str:
    if times.unit == "file order":
        return "none: the order of the rows counts (file order)"
    return f"{times.first} to {times.last} (unit {times.unit}: {times.decided})"


def _change_lines(report: ImportReport) -> Iterator[tuple[str, str]]:
    for name, counts in (("added", report.added), ("already there", report.already_there)):
        if counts:
            yield name, ", ".join(f"{count:,} {what}" for what, count in counts.items())


def _join_row(join: Join) -> list[str]:
    counts = (join.matched, sum(join.loosely.values()), join.unmatched.count, join.unused.count)
    return [f"{join.left} -> {join.right}", *(f"{count:,}" for count in counts)]


def _remarks(report: ImportReport) -> Iterator[str]:
    """Yield a line for whatever was left out, or may not be as it was meant."""
    for table in report.tables:
        for name in table.unread_times:
            yield (
                f"- {Path(table.file).name}: column {name} looks like a time and is not taken; "
                f"take it with --column timestamp={name}"
            )
    if all(table.holds == "interactions" for table in report.tables) and not report.added:
        yield "- no table of items: no item has a title"
    if report.times is not None and report.times.doubt:
        yield f"- times: {report.times.doubt}"
    for join in [*report.joins, *(media.join for media in report.media)]:
        yield from _join_remarks(join)
    for media in report.media:
        yield from _counted(f"second {media.modality} files for an item, not taken", media.second)
        for reason, examples in media.passed_over.items():
            yield from _counted(f"{media.modality} files passed over, {reason}", examples)
    yield from _counted(
        "interactions with user, item and time repeated", report.repeated_interactions
    )
    for name, examples in report.replaced.items():
        yield from _counted(f"items with another {name} than before", examples)
    yield from _counted("names in SRC that were not read", report.unread)


def _join_remarks(join: Join) -> Iterator[str]:
    for (difference, count), example in zip(
        join.loosely.items(), join.loose_examples, strict=False
    ):
        yield f"- {join.left} -> {join.right}: {count:,} matched but for {difference}, as {example}"
    yield from _counted(f"{join.left} without {join.right}", join.unmatched)
    yield from _counted(f"{join.right} without {join.left}", join.unused)


def _counted(what: str, examples: Examples) -> Iterator[str]:
    if examples.count:
        yield f"- {what}: {examples.count:,} ({examples.listed()})"
