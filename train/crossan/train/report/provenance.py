"""Where the numbers come from: data, stores, versions, and settings as differences."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import CrossanError
from crossan.cache_schema.modality import ItemStatus
from crossan.common.config import to_toml
from crossan.common.stores import FeatureStore
from crossan.common.stores.describing.licences import licences_of
from crossan.train.report.blocks import Block, Cell, Note, Section, Table, Text
from crossan.train.report.gathering import Entry, RunFacts
from crossan.train.settings.describing import as_records, describe_settings

__all__ = ["provenance_section", "settings_section"]

_NOT_KNOWN = "\u2013"
_SHORT = 12
"""Digits of a digest that are shown; the run folder has all of them."""
_MOST_FILES = 12
_COUNTED = (ItemStatus.OK, ItemStatus.ABSENT, ItemStatus.MISSING, ItemStatus.QUARANTINED)


def settings_section(entries: Sequence[Entry]) -> Section:
    """Return where the settings differ from the defaults and from each other, and the files."""
    flat = [dict(_flat(entry.runs[0].settings.model_dump(mode="json"))) for entry in entries]
    defaults: dict[str, Any] = {}
    for entry in reversed(entries):
        described = as_records(describe_settings(entry.runs[0].settings.model.kind))
        defaults |= {record["name"]: record["default"] for record in described}
    names = list(dict.fromkeys(name for settings in flat for name in settings if name != "seed"))
    rows = []
    for name in names:
        values = [_value(settings, name) for settings in flat]
        default = _written(defaults[name]) if name in defaults else _NOT_KNOWN
        differs = len(set(values)) > 1
        if not differs and values[0] == default:
            continue
        cells = [
            Cell(value, is_best=differs and value not in {default, _NOT_KNOWN}) for value in values
        ]
        rows.append([Cell(name), Cell(default), *cells])
    columns = ("setting", "default", *(entry.label for entry in entries))
    note = "Everything else has its default. In colour: where the runs differ."
    blocks: list[Block] = [
        Table(
            "Settings that are not the default", columns, rows, note, frozenset(range(len(columns)))
        )
    ]
    blocks += [
        Text(f"config.toml of {entry.full_label}", to_toml(entry.runs[0].settings))
        for entry in entries[:_MOST_FILES]
    ]
    return Section("settings", "Settings", blocks)


def provenance_section(entries: Sequence[Entry], cache: Path | None) -> Section:
    """Return the data, the stores and the versions of every run.

    Parameters
    ----------
    entries
        The runs.
    cache
        Folder of stores that the user names.
    """
    blocks: list[Block] = [_data_table(entries)]
    rows, notes = _stores(entries, cache)
    if rows:
        columns = ("store", "backbone", "version", "fingerprint", "layers", "items",
                   *(status.value for status in _COUNTED[1:]), "licences")  # fmt: skip
        blocks.append(Table("Stores", columns, rows, texts=frozenset({0, 1, 3, 9})))
    blocks += [Note(note) for note in notes]
    blocks.append(_versions_table(entries))
    return Section("provenance", "Provenance", blocks)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _value(settings: Mapping[str, Any], name: str) -> str:
    return _written(settings[name]) if name in settings else _NOT_KNOWN


def _written(value: object) -> str:
    if value is None:
        return "not given"
    if isinstance(value, list | tuple):
        return ", ".join(str(part) for part in value) or "none"
    return value if isinstance(value, str) else json.dumps(value)


def _data_table(entries: Sequence[Entry]) -> Table:
    rows = []
    for entry in entries:
        figures = entry.runs[0].figures
        digest = figures.get("sequences")
        rows.append(
            [
                Cell(entry.label, style=entry.style),
                Cell(str(entry.runs[0].settings.data.dataset)),
                Cell(_count(figures, "users")),
                Cell(_count(figures, "items")),
                Cell(digest[:_SHORT] if digest else _NOT_KNOWN),
                Cell(_split(figures)),
                Cell(str(figures.get("mask_history", _NOT_KNOWN))),
                Cell(_count(figures, "unwinnable_test_targets")),
            ]
        )
    columns = (
        "run",
        "dataset",
        "users",
        "items",
        "sequences",
        "split",
        "history masked",
        "unwinnable",
    )
    note = "sequences: digest of users, catalogue and everything that was ranked."
    return Table("Data", columns, rows, note, frozenset({0, 1, 4, 5, 6}))


def _split(figures: Mapping[str, Any]) -> str:
    split, seed = figures.get("split", "leave-last-out"), figures.get("split_seed")
    return split if seed is None else f"{split}, seed {seed}"


def _count(figures: Mapping[str, Any], name: str) -> str:
    return f"{figures[name]:,}" if name in figures else _NOT_KNOWN


def _stores(entries: Sequence[Entry], cache: Path | None) -> tuple[list[list[Cell]], list[str]]:
    """Return a row for each store that a run read, and what could not be opened."""
    rows: dict[tuple[Any, ...], list[Cell]] = {}
    notes: dict[str, None] = {}
    for run in (run for entry in entries for run in entry.runs):
        keys = {
            name: (name, one.get("fingerprint"), one.get("version"), one.get("manifest"))
            for name, one in run.stores.items()
        }
        if all(key in rows for key in keys.values()):
            continue
        opened, problem = _opened(run, cache)
        if problem:
            notes[problem] = None
        for name, one in run.stores.items():
            rows[keys[name]] = _store_row(name, one, opened.get(name))
    return list(rows.values()), list(notes)


def _opened(run: RunFacts, cache: Path | None) -> tuple[dict[str, FeatureStore], str]:
    try:
        stores = run.folder.locked_stores(cache) or {}
    except CrossanError as error:
        first = error.message.partition("\n")[0]
        return {}, f"Counts and licences of the stores are not shown: {first}"
    return {modality.value: store for modality, store in stores.items()}, ""


def _store_row(name: str, entry: Mapping[str, Any], store: FeatureStore | None) -> list[Cell]:
    layers = ", ".join(map(str, entry.get("layers", []))) or _NOT_KNOWN
    cells = [
        Cell(name, Path(str(entry.get("store", ""))).name),
        Cell(_NOT_KNOWN if store is None else str(store.identity.backbone.get("name", _NOT_KNOWN))),
        Cell(str(entry.get("version", _NOT_KNOWN))),
        Cell(str(entry.get("fingerprint", _NOT_KNOWN))[:_SHORT]),
        Cell(layers, f"{entry['dim']} wide" if "dim" in entry else ""),
    ]
    if store is None:
        return [*cells, *[Cell(_NOT_KNOWN)] * 5]
    counts = [int((store.status == status.value).sum()) for status in _COUNTED]
    licences = "; ".join(
        f"{of}: {licence or 'not recorded'}" for of, licence in licences_of(store.path).items()
    )
    return [
        *cells, Cell(f"{counts[0]:,}"), *(Cell(f"{count:,}") for count in counts[1:]), Cell(licences),
    ]  # fmt: skip


def _versions_table(entries: Sequence[Entry]) -> Table:
    facts: list[dict[str, str]] = []
    for entry in entries:
        for run in entry.runs:
            recorded = run.environment
            known = {**recorded.get("spec", {}), "python": recorded.get("python")}
            known |= recorded.get("packages", {})
            written = {str(k): _written(v) for k, v in known.items() if v is not None}
            facts.append(written)
    names = list(dict.fromkeys(name for of_run in facts for name in of_run))
    rows = []
    for name in names:
        values = list(dict.fromkeys(of_run.get(name, _NOT_KNOWN) for of_run in facts))
        rows.append([Cell(name), Cell(", ".join(values), "differs" if len(values) > 1 else "")])
    return Table(
        "Machine and versions", ("of the runs", ""), rows, texts=frozenset({0, 1}), is_folded=True
    )
