"""Quality on MicroLens-50K under the paper's protocol, without any pre-trained weights.

``python tests/benchmarks/bench_quality.py --out FOLDER`` trains every run of
``RUNS`` with every seed by the product's own commands and prints a table of
validation and test. Training stops on validation; nothing is chosen on test. A
finished run is not trained again, a cut-off one goes on.

Words and character 4-grams of the titles stand in for a backbone's hidden
states (`title_states`), and a BERT that nobody has trained for a bad one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from base_backbones import write_backbone
from markov import decayed_markov
from title_states import title_states

from crossan.cache_schema.modality import Modality
from crossan.common.datasets import keep_sequences, open_dataset

COMMON = (
    "batch_size=512",
    "optimiser.lr=1e-3",
    "optimiser.adapter_lr=1e-3",
    "model.dropout=0.3",
    "max_epochs=30",
    "patience=3",
)
SASREC = ("model.kind=sasrec",)
FROZEN = ("model.kind=frozen", "model.top_k=1")
ADAPTERS = ("model.kind=crossan", "model.top_k=1", "model.bottleneck_dim=64")
IDS = "model.id_embedding=true"
CATALOGUE, CROSS_BATCH = "objective.kind=catalogue", "objective.kind=cross-batch"
RATES = ("optimiser.id_lr=3e-4", "optimiser.adapter_lr=3e-3")
"""The best on validation of those tried: what is said of an item learns fast, what it is slowly."""
RUNS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "ids (SASRec)": (None, SASREC),
    "ids (SASRec), whole catalogue": (None, (*SASREC, CATALOGUE)),
    "TF-IDF, frozen": ("tfidf", FROZEN),
    "TF-IDF, side adapters": ("tfidf", ADAPTERS),
    "TF-IDF, frozen, ids": ("tfidf", (*FROZEN, IDS)),
    "TF-IDF, side adapters, ids": ("tfidf", (*ADAPTERS, IDS)),
    "TF-IDF, side adapters, ids, other rates": ("tfidf", (*ADAPTERS, IDS, *RATES)),
    "TF-IDF, side adapters, ids, cross-batch": ("tfidf", (*ADAPTERS, IDS, CROSS_BATCH)),
    "TF-IDF, side adapters, ids, whole catalogue": ("tfidf", (*ADAPTERS, IDS, CATALOGUE)),
    "random BERT, frozen": ("bert", FROZEN),
    "random BERT, side adapters": ("bert", ADAPTERS),
    "random BERT, side adapters, ids": ("bert", (*ADAPTERS, IDS)),
}
"""Name to the cache it reads and its settings."""
DIM = 256
FIGURES = ("hr@10", "ndcg@10")


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="where dataset, stores and runs go; kept"
    )
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CROSSAN_TEST_DATA", ".")))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--only", nargs="*", default=list(RUNS), choices=list(RUNS), metavar="NAME")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="instead of the common settings"
    )
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    dataset = out / "microlens50k"
    if not dataset.exists():
        _run(
            "crossan",
            "data",
            "import",
            "--format",
            "microlens",
            arguments.data / "microlens50k",
            "--out",
            dataset,
        )
    results = {}
    for name in arguments.only:
        cache, settings = RUNS[name]
        folder = None if cache is None else _filled(out, cache, dataset)
        every = [*COMMON, *settings, *arguments.set]
        results[name] = [
            _trained(out, name, seed, dataset, folder, every) for seed in arguments.seeds
        ]
    _show(results, dataset)


def _filled(out: Path, cache: str, dataset: Path) -> Path:
    """Return a cache with the titles' hidden states."""
    folder = out / cache
    if folder.exists():
        return folder
    if cache == "bert":
        backbone = write_backbone(Modality.TEXT, "tiny", out)
        asked = [
            "--modality",
            "text",
            "--dataset",
            dataset,
            "--backbone",
            backbone,
            "--pooling",
            "mean",
        ]
        _run("crossan-extract", *asked, "--cache", folder)
        return folder
    items = open_dataset(dataset).items()
    states, ids = out / "title_states.npy", out / "title_states.ids"
    np.save(states, title_states([title or "" for title in items["title"].to_pylist()], DIM))
    ids.write_text("\n".join(items["item_id"].to_pylist()) + "\n", encoding="utf-8")
    asked = [
        "--format",
        "npy",
        "--modality",
        "text",
        "--dataset",
        dataset.name,
        "--backbone",
        "tf-idf",
    ]
    _run("crossan", "cache", "import", states, *asked, "--ids", ids, "--cache", folder)
    return folder


def _trained(
    out: Path, name: str, seed: int, dataset: Path, cache: Path | None, settings: Sequence[str]
) -> dict[str, Any]:
    """Return the result of one run, trained unless it was."""
    run = out / "runs" / f"{name.replace(', ', '_').replace(' ', '-')}_{seed}"
    if not (run / "result.json").exists():
        given = [part for setting in (*settings, f"seed={seed}") for part in ("--set", setting)]
        places = [
            "--dataset",
            dataset,
            "--out",
            run,
            *([] if cache is None else ["--cache", cache]),
        ]
        _run("crossan-train", *places, *given, "--resume")
    result: dict[str, Any] = json.loads((run / "result.json").read_text(encoding="utf-8"))
    return result


def _run(command: str, *arguments: str | Path) -> None:
    subprocess.run(
        [Path(sys.executable).with_name(command), *arguments], check=True, stdout=subprocess.DEVNULL
    )


def _show(results: dict[str, list[dict[str, Any]]], dataset: Path) -> None:
    """Print HR@10/NDCG@10 in %, mean and standard deviation over the seeds, and what is trained by nobody."""
    print(
        "| what | seeds | valid HR@10 | valid NDCG@10 | test HR@10 | test NDCG@10 | epochs (best) | s per epoch |"
    )
    print("|---|---|---|---|---|---|---|---|")
    kept = keep_sequences(
        open_dataset(dataset).interactions(), max_items=13, min_items=5, drop_items=set()
    )
    lines: dict[str, Any] = {"decayed Markov": decayed_markov(kept)}
    if results:
        lines["popularity"] = next(iter(results.values()))[0]["popularity"]
    for name, line in lines.items():
        cells = [f"{line[split][figure]:.2%}" for split in ("valid", "test") for figure in FIGURES]
        print(f"| {name} | - | {' | '.join(cells)} | - | - |")
    for name, runs in results.items():
        cells = [
            _spread([run[split][figure] for run in runs])
            for split in ("valid", "test")
            for figure in FIGURES
        ]
        epochs = ", ".join(f"{run['epochs']} ({run['best_epoch']})" for run in runs)
        seconds = statistics.median(run["seconds_per_epoch"] for run in runs)
        print(f"| {name} | {len(runs)} | {' | '.join(cells)} | {epochs} | {seconds:.1f} |")


def _spread(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.2%}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2%}{spread}"


if __name__ == "__main__":
    main()
