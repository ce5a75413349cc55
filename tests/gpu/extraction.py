"""Extraction of all four families: right beside the CPU's float32, and as fast as the forward alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from base_backbones import SIZES, write_backbone
from card import Card
from commands import crossan
from report import Report
from shape import Shape

from crossan.cache_schema.modality import Modality
from crossan.common.datasets import write_dataset
from crossan.common.stores import open_store
from crossan.extract.backbones.tiny import write_tiny
from crossan.extract.sample.media import write_image, write_sound, write_video
from crossan.extract.sample.topics import make_items

__all__ = ["Extraction"]

_FILES = 24
"""Media files of a kind; items beyond share them."""
_COLUMNS = {"image": write_image, "video": write_video, "audio": write_sound}
_TOLERANCE = {"float32": 2e-3, "bfloat16": 5e-2}
"""Of pooled states beside the CPU's, relative: both are stored as float16."""
_FED = 0.9


class Extraction:
    """A dataset with media of all kinds, and backbones with random weights."""

    def __init__(self, card: Card, shape: Shape, folder: Path, report: Report) -> None:
        self._card, self._shape, self._folder, self._report = card, shape, folder, report

    def check_states(self) -> None:
        """Hold the states of every family against those of the CPU in float32."""
        dataset = self._write_dataset("few", dict.fromkeys(_COLUMNS, 6) | {"text": 6})
        backbones = self._tiny()
        for modality in Modality:
            cpu = self._extract(modality, dataset, backbones, "cpu", "float32")
            for dtype, most in _TOLERANCE.items():
                device = self._extract(modality, dataset, backbones, self._card.device, dtype)
                self._report.check(
                    f"{modality.value}, {dtype}: states beside the CPU's",
                    _apart(device["store"], cpu["store"]),
                    most,
                )

    def measure(self) -> None:
        """Measure the whole pipeline against the slower of the forward alone and decoding alone."""
        dataset = self._write_dataset("many", self._shape.extracted_items)
        for modality in Modality:
            backbone = self._backbone(modality)
            result = self._extract(
                modality, dataset, backbone, self._card.device, "bfloat16", suffix="speed"
            )
            report = json.loads(Path(result["report"]).read_text(encoding="utf-8"))
            self._note(modality, result["forwarded"], report)

    def _note(self, modality: Modality, items: int, report: dict[str, Any]) -> None:
        stages = report["stages"]
        rate = items / stages["computing"]["seconds"]
        alone = min(stages[stage]["items_per_second"] or rate for stage in ("forward", "reading"))
        label = f"{modality.value}, {self._shape.backbone}: "
        self._report.figure(f"{label}items a second, bottleneck {report['bottleneck']}", rate, "/s")
        share = rate / alone if alone else 0.0
        self._report.figure(f"{label}of min(forward, decode)", share, "", _FED, is_floor=True)
        reached = report["device_rate_reached"]
        self._report.figure(f"{label}of the forwards alone, by the device's events", reached, "")

    def _backbone(self, modality: Modality) -> Path:
        if self._shape.backbone not in SIZES:
            return self._tiny() / modality.value
        return write_backbone(modality, self._shape.backbone, self._folder)

    def _tiny(self) -> Path:
        """Return the folder of the smallest checkpoints, one of each modality."""
        folder = self._folder / "tiny"
        if not folder.is_dir():
            write_tiny(folder)
        return folder

    def _extract(
        self,
        modality: Modality,
        dataset: Path,
        backbone: Path,
        device: object,
        dtype: str,
        suffix: str = "check",
    ) -> dict[str, Any]:
        cache = self._folder / f"cache-{suffix}-{device}-{dtype}".replace(":", "-")
        printed = crossan(
            *("extract", "--modality", modality.value, "--dataset", dataset, "--cache", cache),
            *("--backbone", backbone, "--device", device, "--dtype", dtype),
            # A few files are decoded here before a process has begun.
            *(("--num-workers", 0) if suffix == "check" else ()),
        )
        store: dict[str, Any] = printed["stores"][0]
        return store

    def _write_dataset(self, name: str, counts: dict[str, int]) -> Path:
        """Write items of which the first so many have each kind of content."""
        folder = self._folder / name
        if (folder / "dataset.json").is_file():
            return folder
        made = [item for item in make_items(0) if item.title is not None][:_FILES]
        paths: dict[str, list[str]] = {}
        for kind, write in _COLUMNS.items():
            (folder / kind).mkdir(parents=True, exist_ok=True)
            files = min(counts[kind], len(made))
            paths[kind] = [
                f"{kind}/{write(folder / kind, item, np.random.default_rng(item.number))}"
                for item in made[:files]
            ]
        items = max(counts.values())
        ids = [f"v{number:06d}" for number in range(items)]
        columns = {kind: _first(counts[kind], items, files) for kind, files in paths.items()}
        titles = _first(counts["text"], items, [f"{item.title}" for item in made])
        write_dataset(
            folder,
            name="media",
            source_format="test",
            licence="none",
            interactions=pa.table(
                {"user_id": ["u"] * items, "item_id": ids, "timestamp": list(range(items))}
            ),
            items=pa.table(
                {"item_id": ids, "title": titles}
                | {kind: pa.array(column, pa.string()) for kind, column in columns.items()}
            ),
        )
        return folder


def _first(count: int, items: int, values: list[str]) -> list[str | None]:
    """Return the values in turn for the first so many items, None for the rest."""
    return [values[number % len(values)] if number < count else None for number in range(items)]


def _apart(store: str, other: str) -> float:
    """Return how far two stores' states are apart, relative to their size; NaN where items differ."""
    ours, theirs = (_states(Path(folder)) for folder in (store, other))
    is_there = np.isfinite(theirs)
    if not np.array_equal(is_there, np.isfinite(ours)):
        return float("nan")
    apart = np.linalg.norm(ours[is_there] - theirs[is_there])
    return float(apart / np.linalg.norm(theirs[is_there]))


def _states(folder: Path) -> np.ndarray:
    store = open_store(folder)
    return store.read(np.arange(len(store.item_ids))).astype(np.float64)
