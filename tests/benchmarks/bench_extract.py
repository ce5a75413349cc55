"""Speed of the extraction, against the limits of its parts and against a loop one would write first.

``make bench-extract`` prints a table; every ratio is of medians of interleaved
repeats in one run. Nothing here is a test: machines are noisy.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from base_backbones import write_backbone
from bench_start import PICTURES, compare_starts
from extract_baselines import decoding_cpu, naive_loop

from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.contents.media_list import read_media
from crossan.common.datasets import write_dataset
from crossan.extract.backbones import Backbone, load_backbone
from crossan.extract.backbones.canary_inputs import canary_inputs
from crossan.extract.backbones.memory import peak_bytes
from crossan.extract.job.plan import Shard, plan_batches
from crossan.extract.job.request import JobRequest
from crossan.extract.job.run import extract_together
from crossan.extract.media.clip import ClipReader
from crossan.extract.workers import DecodeOrder, ItemReader, Limits, WorkerPool

MEASURES = (
    "pipeline",
    "naive",
    "text",
    "passes",
    "memory",
    "shards",
    "decoding",
    "clips",
    "start",
)
DATA = Path(os.environ.get("CROSSAN_TEST_DATA", "../shared/data"))
COUNTS = {Modality.TEXT: 512, Modality.IMAGE: 96, Modality.VIDEO: 16, Modality.AUDIO: 24}
"""Items of one pass with backbones of base size; small ones take twice, tiny ones eight times as many."""
BATCH = {Modality.TEXT: 16, Modality.IMAGE: 8, Modality.VIDEO: 8, Modality.AUDIO: 4}


def main() -> None:
    """Write backbones and datasets into a folder, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder",
        type=Path,
        default=None,
        help="where to write about 3 GB; default: a temporary one",
    )
    parser.add_argument(
        "--size", choices=("base", "small", "tiny"), default="base", help="of the backbones"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of our forward; the loop's is float32",
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(MEASURES), choices=MEASURES)
    parser.add_argument("--modality", nargs="*", default=[modality.value for modality in Modality])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        bench = Bench(
            Path(folder),
            arguments.size,
            arguments.dtype,
            arguments.repeats,
            [Modality(name) for name in arguments.modality],
        )
        print(
            f"{os.cpu_count()} cores, torch {torch.__version__}, backbones of {arguments.size} size in {arguments.dtype}, {arguments.repeats} repeats, "
            f"OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY', 'unset')}"
        )
        print("| ratio | ours | other | ratio | goal |\n|---|---|---|---|---|")
        for measure in arguments.only:
            getattr(bench, measure)()


class Bench:
    """Datasets of real titles and media, and backbones with random weights."""

    def __init__(
        self, folder: Path, size: str, dtype: str, repeats: int, modalities: Sequence[Modality]
    ) -> None:
        self.folder, self.size, self.dtype, self.repeats, self.modalities = (
            folder,
            size,
            dtype,
            repeats,
            modalities,
        )
        self._loaded: dict[Modality, Backbone] = {}

    def backbone(self, modality: Modality) -> Backbone:
        """Return the backbone of a modality, loaded once."""
        if modality not in self._loaded:
            self._loaded[modality] = load_backbone(
                modality, str(write_backbone(modality, self.size, self.folder)), dtype=self.dtype
            )
        return self._loaded[modality]

    def dataset(self, modality: Modality, count: int | None = None) -> Path:
        """Return a dataset of the first readable items of one modality."""
        count = count or COUNTS[modality] * {"base": 1, "small": 2, "tiny": 8}[self.size]
        out = self.folder / f"{modality.value}-{count}"
        if not out.exists():
            _write_items(out, modality, _media_of(modality, count))
        return out

    def request(self, modality: Modality, **changes: Any) -> JobRequest:
        """Return a job with a cache of its own."""
        cache = Path(tempfile.mkdtemp(dir=self.folder))
        values = {"dataset": self.dataset(modality), "cache": cache, "batch_size": BATCH[modality]}
        return JobRequest(**(values | changes))  # type: ignore[arg-type]

    def run(self, request: JobRequest, *modalities: Modality) -> dict[str, Any]:
        """Run a job, return its (last) report and remove what it wrote."""
        results = extract_together(request, [self.backbone(modality) for modality in modalities])
        name = (
            "report.json"
            if request.shard.count == 1
            else f"report.{request.shard.number}-of-{request.shard.count}.json"
        )
        report: dict[str, Any] = json.loads((results[-1].store / name).read_text())
        assert report["items"].get("ok", 0) > 0.9 * report["items"]["planned"]
        shutil.rmtree(request.cache)
        return report

    def pipeline(self) -> None:
        """Compare the job with the slower of its two parts alone."""
        for modality in self.modalities:
            inputs, decode = self._inputs(modality)
            sizes = (BATCH[modality] // 2, BATCH[modality], 2 * BATCH[modality])
            rates = {size: self._forward_rate(modality, inputs, size) for size in sizes}
            tried = ", ".join(f"{rate:.4g} at {size}" for size, rate in rates.items())
            best = max(sizes, key=lambda size: rates[size])
            forward, decoding, whole = [], [], []
            for _ in range(self.repeats):
                forward.append(self._forward_rate(modality, inputs, best))
                decoding.append(decode())
                report = self.run(self.request(modality), modality)
                whole.append(report["stages"]["computing"]["items_per_second"])
            limit = min(statistics.median(forward), statistics.median(decoding))
            _line(
                f"{modality.value}: pipelined / min(forward {statistics.median(forward):.2f}, decoding {statistics.median(decoding):.1f} items/s); tried {tried}",
                statistics.median(whole), limit, statistics.median(whole) / limit, ">= 0.90",
            )  # fmt: skip

    def _inputs(self, modality: Modality) -> tuple[list[Any], Callable[[], float]]:
        """Return prepared inputs of some batches, and what measures the rate of decoding with all workers alone."""
        backbone = self.backbone(modality)
        media = read_media(_opened(self.dataset(modality)), modality)
        if modality is Modality.TEXT:
            batches = plan_batches(media, BATCH[modality], backbone.text_length)
            titles = [medium.title for batch in batches for medium in batch]
            return [backbone.prepare(title) for title in titles], lambda: float("inf")
        request = self.request(modality)
        reader = ItemReader(
            {modality: backbone.preparer()},
            ClipReader(frame_count=backbone.frame_count, sampling_rate=backbone.sampling_rate),
        )
        orders = [
            DecodeOrder(medium.path, None, (modality,))
            for medium in media
            if medium.path is not None
        ]

        def rate() -> float:
            """Return items per second of one worker, times the workers."""
            pool = WorkerPool(reader, 1, Limits())
            for _ in pool.read(orders, 16):
                pass
            return request.worker_count * len(orders) / pool.busy_seconds

        answers = WorkerPool(reader, 0, Limits()).read(orders[: 2 * BATCH[modality]], 1)
        inputs = [
            answer[modality].inputs
            for answer in answers
            if answer[modality].status is ItemStatus.OK
        ]
        return inputs, rate

    def _forward_rate(self, modality: Modality, inputs: list[Any], size: int) -> float:
        backbone = self.backbone(modality)
        backbone.begin(inputs[:size])()
        begun = time.perf_counter()
        for start in range(0, len(inputs), size):
            backbone.begin(inputs[start : start + size])()
        return len(inputs) / (time.perf_counter() - begun)

    def naive(self) -> None:
        """Compare the whole job with a loop: one item after the other, decode, processor, model, torch.save."""
        real = [str(path) for path in sorted((DATA / "microlens50k" / "videos").glob("*.mp4"))]
        for modality, media, name in (
            (Modality.IMAGE, _media_of(Modality.IMAGE, 384), "384 pictures of bench_microlens_mm"),
            (Modality.VIDEO, real * 8, f"{len(real)} real MicroLens videos, 8 times each"),
        ):
            if modality not in self.modalities:
                continue
            dataset = self.folder / f"naive-{modality.value}"
            if not dataset.exists():
                _write_items(dataset, modality, media)
            checkpoint = write_backbone(modality, self.size, self.folder)
            ours, theirs = [], []
            for _ in range(self.repeats):
                report = self.run(self.request(modality, dataset=dataset), modality)
                ours.append(report["stages"]["computing"]["items_per_second"])
                theirs.append(
                    naive_loop(modality, checkpoint, [Path(path) for path in media], self.folder)
                )
            a, b = statistics.median(ours), statistics.median(theirs)
            _line(f"{modality.value}: pipelined / naive loop, items/s, {name}", a, b, a / b, ">= 3")

    def start(self) -> None:
        """Compare whole processes: of a short job, and of one with nothing to do."""
        compare_starts(
            self.dataset(Modality.IMAGE, PICTURES),
            write_backbone(Modality.IMAGE, self.size, self.folder),
            _media_of(Modality.IMAGE, PICTURES),
            self.folder,
            self.repeats,
        )

    def text(self) -> None:
        """Count padded and true tokens of the plan over all MicroLens titles."""
        backbone = self.backbone(Modality.TEXT)
        out = self.folder / "titles"
        _write_items(out, Modality.TEXT, _media_of(Modality.TEXT, 19_220))
        plan = plan_batches(
            read_media(_opened(out), Modality.TEXT), BATCH[Modality.TEXT], backbone.text_length
        )
        lengths = [
            [backbone.text_length(medium.title) for medium in batch if medium.title]
            for batch in plan
        ]
        padded = sum(len(batch) * max(batch, default=0) for batch in lengths)
        true = sum(map(sum, lengths))
        _line(
            f"text: padded / true tokens, {sum(map(len, lengths)):,} titles",
            padded,
            true,
            padded / true,
            "<= 1.03",
        )

    def passes(self) -> None:
        """Count how many items go through the model in a job, per item."""
        for modality in self.modalities:
            backbone = self.backbone(modality)
            seen: list[int] = []
            hook = backbone.model.register_forward_pre_hook(
                lambda module, args, kwargs, seen=seen: seen.append(
                    len(next(iter(kwargs.values())))
                ),
                with_kwargs=True,
            )
            report = self.run(self.request(modality, dataset=self.dataset(modality, 24)), modality)
            hook.remove()
            forwards = sum(seen) - len(canary_inputs(backbone))
            _line(
                f"{modality.value}: forwards / items",
                forwards,
                report["items"]["forwarded"],
                forwards / report["items"]["forwarded"],
                "1.00",
            )

    def memory(self) -> None:
        """Compare the peak memory of a forward that keeps pooled states with one that keeps nothing."""
        for modality in self.modalities:
            backbone = self.backbone(modality)
            prepared = [backbone.prepare(medium) for medium in canary_inputs(backbone)]
            batch = [max(prepared, key=lambda made: sum(map(len, made.values())))] * BATCH[modality]
            forwards = (
                partial(_kept_forward, backbone, batch),
                partial(_plain_forward, backbone, batch),
            )
            ours, plain = (peak_bytes(forward, backbone.device) / 2**20 for forward in forwards)
            name = f"{modality.value}: peak memory of the forward / of a plain one, MiB beside the weights"
            _line(name, ours, plain, ours / plain, "<= 1.1")

    def shards(self) -> None:
        """Compare four quarter jobs with one whole, start-up, canary and publishing included, model loading not."""
        modality = Modality.IMAGE
        whole, parts = [], []
        for _ in range(self.repeats):
            dataset = self.dataset(modality, 1_187)
            whole.append(self.run(self.request(modality, dataset=dataset), modality)["seconds"])
            request = self.request(modality, dataset=dataset)
            parts.append(0.0)
            for number in range(1, 5):
                request = dataclasses.replace(request, shard=Shard(number, 4))
                (result,) = extract_together(request, [self.backbone(modality)])
                parts[-1] += result.seconds
        a, b = statistics.median(parts), statistics.median(whole)
        _line(f"{modality.value}: --shard 1/4 .. 4/4 together / one job, s", a, b, a / b, "<= 1.05")

    def decoding(self) -> None:
        """Compare the computing time of choosing frames with that of converting all."""
        for name, paths in _videos().items():
            pairs = [decoding_cpu(paths) for _ in range(self.repeats)]
            ours, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
            _line(
                f"video: CPU of decoding / of converting every frame, {name}, ms each",
                1e3 * ours,
                1e3 * theirs,
                ours / theirs,
                "<= 0.6",
            )

    def clips(self) -> None:
        """Compare reading videos through a filled ``--clips`` folder with decoding them."""
        for name, paths in _videos().items():
            kept = ClipReader(frame_count=16, cache=self.folder / f"clips-{len(paths)}")
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(self.repeats + 1):
                for reader, spent in zip((kept, ClipReader(frame_count=16)), times, strict=True):
                    begun = time.process_time()
                    for number, path in enumerate(paths):
                        reader.read(path, f"{number:064x}", frozenset({Modality.VIDEO}))
                    spent.append(time.process_time() - begun)
            ours, other = (
                1e3 * statistics.median(spent[1:]) / len(paths) for spent in times
            )  # the first round fills
            _line(
                f"video: with --clips / without, {name}, CPU ms each",
                ours,
                other,
                ours / other,
                "<= 0.3",
            )


def _kept_forward(backbone: Backbone, batch: list[Any]) -> None:
    backbone.begin(batch)()


def _plain_forward(backbone: Backbone, batch: list[Any]) -> None:
    with torch.inference_mode():
        backbone.model(**backbone.model_inputs(batch)[0])


def _line(name: str, ours: float, other: float, ratio: float, goal: str) -> None:
    print(f"| {name} | {ours:,.2f} | {other:,.2f} | {ratio:.3f} | {goal} |", flush=True)


def _opened(folder: Path) -> Any:
    from crossan.common.datasets import open_dataset

    return open_dataset(folder)


def _videos() -> dict[str, list[Path]]:
    real = sorted((DATA / "microlens50k" / "videos").glob("*.mp4"))
    return {
        f"{len(real)} real MicroLens videos": real,
        "40 of bench_microlens_mm": [Path(p) for p in _media_of(Modality.VIDEO, 40)],
    }


def _media_of(modality: Modality, count: int) -> list[str]:
    if modality is Modality.TEXT:
        with (DATA / "microlens50k" / "MicroLens-50k_titles.csv").open(
            encoding="utf-8", newline=""
        ) as file:
            return [row["title"] for row in csv.DictReader(file)][:count]
    folder = {Modality.IMAGE: "images", Modality.VIDEO: "video", Modality.AUDIO: "audio"}[modality]
    return [str(path) for path in sorted((DATA / "bench_microlens_mm" / folder).iterdir())[:count]]


def _write_items(out: Path, modality: Modality, media: Sequence[str]) -> None:
    ids = [f"v{number:05d}" for number in range(len(media))]
    column = "title" if modality is Modality.TEXT else modality.value
    nothing = pa.array([None] * len(ids), pa.string())
    columns = dict.fromkeys(("title", "image", "video", "audio"), nothing) | {
        column: pa.array(media, pa.string())
    }
    items = pa.table({"item_id": pa.array(ids, pa.string()), **columns})
    interactions = pa.table(
        {
            "user_id": pa.array(["u"], pa.string()),
            "item_id": [ids[0]],
            "timestamp": pa.array([None], pa.int64()),
        }
    )
    write_dataset(
        out,
        name=out.name,
        source_format="table",
        licence="see its README",
        interactions=interactions,
        items=items,
    )


if __name__ == "__main__":
    main()
