"""The doctor, who says what a dataset holds, what it lacks and what will surprise its user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import DataError
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.console import note, progress
from crossan.common.datasets.folder import Dataset, file_of, tables_digest
from crossan.common.datasets.importing import repeated_rows
from crossan.common.datasets.keeping import keep_sequences
from crossan.common.datasets.own_split import part_problems
from crossan.common.datasets.protocol import (
    KeptSequences,
    cold_test_targets,
    unwinnable_test_targets,
)
from crossan.common.datasets.report import IMPORT_FILE, Examples, read_record
from crossan.common.datasets.time_ranges import stored_range
from crossan.common.split import LEAVE_LAST_OUT, Split

__all__ = ["examine", "require_match"]

_SHOWN = 5
_KNOWN_COUNTS = {
    "microlens-100k": {"users": 100_000, "items": 19_738, "interactions": 719_405},
    "microlens-50k": {"users": 50_000, "items": 19_220, "interactions": 359_708},
}
"""The counts that the publishers state, by dataset name."""

Probe = Callable[[Path], ItemStatus]


def examine(
    dataset: Dataset,
    *,
    max_items: int,
    min_items: int,
    workers: int,
    split: Split = LEAVE_LAST_OUT,
) -> dict[str, Any]:
    """Return the report of ``crossan data check``.

    Its keys are a promise (docs/cli.md).

    Parameters
    ----------
    dataset
        The folder to examine.
    max_items, min_items, split
        The protocol, see `keep_sequences`.
    workers
        Threads that decode media.
    """
    interactions, items = dataset.interactions(), dataset.items()
    record = read_record(file_of(dataset, IMPORT_FILE))
    kept = keep_sequences(interactions, max_items=max_items, min_items=min_items, split=split)
    problems = [
        *_count_problems(dataset),
        *_id_problems(interactions, items, None if split.name == "fixed" else min_items),
        *(_problem(*problem) for problem in part_problems(interactions)),
        *_target_problems(kept),
        *_digest_problems(dataset, interactions, items),
    ]
    media = {
        modality.value: _examine_media(dataset, items, modality, workers, problems)
        for modality in Modality
    }
    return {
        "users": len(interactions.column("user_id").unique()),
        "items": items.num_rows,
        "interactions": interactions.num_rows,
        "parts": None if dataset.parts is None else dict(dataset.parts),
        "protocol": {
            "max_items": max_items,
            "min_items": min_items,
            "users": len(kept.user_ids),
            "items": len(kept.item_ids),
            "interactions": len(kept.items),
            "test_targets": len(kept.test_targets),
            **split.facts(),
        },
        "media": media,
        "cold_test_targets": cold_test_targets(kept),
        "unwinnable_test_targets": unwinnable_test_targets(kept),
        "problems": problems,
        "times": stored_range(interactions.column("timestamp")).model_dump(mode="json"),
        **record.model_dump(mode="json"),
    }


def require_match(dataset: Dataset) -> None:
    """Refuse a dataset whose interactions name no item that it lists.

    Raises
    ------
    DataError
        The message has examples of both.
    """
    used = dataset.interactions().column("item_id").unique().to_pylist()
    listed = dataset.items().column("item_id").to_pylist()
    if used and listed and not set(used) & set(listed):
        raise DataError(
            f"{dataset.root}: expected interactions with its items, found none"
            f"\n  interactions name: {Examples.of(used).listed()}"
            f"\n  items are: {Examples.of(listed).listed()}",
            remedy="Import it anew from its tables: crossan data import",
        )


def _problem(
    code: str, what: str, examples: Sequence[str] = (), count: int | None = None
) -> dict[str, Any]:
    return {
        "code": code,
        "what": what,
        "count": len(examples) if count is None else count,
        "examples": list(examples[:_SHOWN]),
    }


def _count_problems(dataset: Dataset) -> Iterator[dict[str, Any]]:
    known = _KNOWN_COUNTS.get(dataset.name.lower().replace("_", "-"), {})
    for what, expected in known.items():
        actual = dataset.counts.get(what)
        if actual != expected:
            yield _problem(
                "count", f"{dataset.name} has {expected:,} {what}, found {actual or 0:,}", count=1
            )


def _digest_problems(
    dataset: Dataset,
    interactions: Any,  # noqa: ANN401 - Arrow is untyped
    items: Any,  # noqa: ANN401
) -> Iterator[dict[str, Any]]:
    if tables_digest(interactions, items) != dataset.digest:
        yield _problem(
            "digest",
            "the tables are not those that dataset.json describes: one of the files was changed"
            " or comes from another dataset",
            count=1,
        )


def _id_problems(
    interactions: Any,  # noqa: ANN401 - Arrow is untyped
    items: Any,  # noqa: ANN401
    min_items: int | None,
) -> Iterator[dict[str, Any]]:
    listed = Counter(items.column("item_id").to_pylist())
    repeated = sorted(item for item, count in listed.items() if count > 1)
    if repeated:
        yield _problem("duplicate-item", "items.parquet lists an item more than once", repeated)
    unlisted = sorted(set(interactions.column("item_id").to_pylist()) - set(listed))
    repeated_interactions = repeated_rows(interactions)
    if repeated_interactions.count:
        yield _problem(
            "repeated-interaction",
            "interactions with the user, item and time of an earlier one",
            repeated_interactions.examples,
            count=repeated_interactions.count,
        )
    if unlisted:
        yield _problem(
            "unlisted-item", "interactions name items that items.parquet does not list", unlisted
        )
    if min_items is None:
        return
    lengths = Counter(interactions.column("user_id").to_pylist())
    short = sorted(user for user, length in lengths.items() if length < min_items)
    if short:
        yield _problem(
            "short-user", f"users with fewer than {min_items} interactions are left out", short
        )


def _target_problems(kept: KeptSequences) -> Iterator[dict[str, Any]]:
    target_count = len(kept.test_targets)
    cold, unwinnable = cold_test_targets(kept), unwinnable_test_targets(kept)
    if cold:
        what = (
            f"{cold / target_count:.1%} of test targets are in no training sequence: "
            "only content can rank them"
        )
        yield _problem("cold-target", what, count=cold)
    if unwinnable:
        what = (
            f"{unwinnable / target_count:.1%} of test targets are in their user's history "
            "already: unwinnable when masked"
        )
        yield _problem("unwinnable-target", what, count=unwinnable)


def _examine_media(
    dataset: Dataset,
    items: Any,  # noqa: ANN401 - Arrow is untyped
    modality: Modality,
    workers: int,
    problems: list[dict[str, Any]],
) -> dict[str, int]:
    item_ids = items.column("item_id").to_pylist()
    if modality is Modality.TEXT:
        present = sum(bool(title and title.strip()) for title in items.column("title").to_pylist())
        return {"present": present, "absent": len(item_ids) - present, "missing": 0, "broken": 0}
    paths = items.column(modality.value).to_pylist()
    if modality is Modality.AUDIO:
        # An item without a sound file uses the sound track of its video.
        videos = items.column("video").to_pylist()
        paths = [sound or video for sound, video in zip(paths, videos, strict=True)]
    named = [
        (item, dataset.media_path(path)) for item, path in zip(item_ids, paths, strict=True) if path
    ]
    counts, bad = _probe_all(named, modality, workers)
    counts["absent"] += len(item_ids) - len(named)
    problems += [
        _problem(f"{kind}-{modality.value}", f"{kind} {modality.value} files", bad[kind])
        for kind in bad
        if bad[kind]
    ]
    return counts


def _probe_all(
    named: Sequence[tuple[str, Path]], modality: Modality, workers: int
) -> tuple[dict[str, int], dict[str, list[str]]]:
    counts = {"present": 0, "absent": 0, "missing": 0, "broken": 0}
    bad: dict[str, list[str]] = {"missing": [], "broken": []}
    if not named:
        return counts, bad
    probe = _find_probe(modality)
    with (
        ThreadPoolExecutor(workers) as pool,
        progress(f"check {modality.value}", len(named), "files") as shown,
    ):
        # Threads do, as decoding happens in C libraries and ffmpeg. `map` keeps the order, so
        # that two runs report the same examples.
        verdicts = pool.map(lambda entry: _probe_one(entry[1], probe), named)
        for (item, path), (kind, reason) in zip(named, verdicts, strict=True):
            counts[kind] += 1
            if kind in bad:
                bad[kind].append(f"{item}: {path}" + (f" ({reason})" if reason else ""))
            shown.advance()
    return counts, bad


def _probe_one(path: Path, probe: Probe) -> tuple[str, str]:
    try:
        if not path.is_file():
            return "missing", ""
        return ("absent", "") if probe(path) is ItemStatus.ABSENT else ("present", "")
    except DataError as error:
        return "broken", error.message
    except OSError as error:
        return "broken", f"cannot be read: {error.strerror}"


def _find_probe(modality: Modality) -> Probe:
    # Decoders live in extract, which common must not import: they announce themselves by entry
    # point, and a machine that only trains does without.
    for point in entry_points(group="crossan.media_probes", name=modality.value):
        try:
            probe: Probe = point.load()
        except ModuleNotFoundError as error:
            note(
                f"{modality.value}: not decoded, only looked for: "
                f"{error.name} is not installed (crossan[extract])"
            )
            break
        return probe
    return _probe_size


def _probe_size(path: Path) -> ItemStatus:
    if path.stat().st_size == 0:
        raise DataError("empty file")
    return ItemStatus.OK
