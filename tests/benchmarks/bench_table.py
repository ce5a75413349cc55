"""The table of all models and baselines, by the product's own commands.

``python tests/benchmarks/bench_table.py --out FOLDER`` trains every kind of model
on the built-in sample and on bench_microlens_mm, three seeds each, and what needs
no training steps on MicroLens-50K under both splits. ``crossan compare`` makes the
tables, which take the place of the earlier ones in docs/benchmarks/table.md.
Training stops on validation; nothing is chosen on test. A finished run is not
trained again, a cut-off one goes on.

Kinds come from the table of models: a new one appears by itself.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from crossan.train.settings.kinds import model_settings_classes

PAGE = Path(__file__).parents[2] / "docs/benchmarks/table.md"
SMALL = ("model.bottleneck_dim=64", "model.top_k=2", "optimiser.adapter_lr=1e-3", "patience=5")
"""What the tiny backbones' models are trained with; a kind takes what it has of it."""
SPLITS = {
    "leave-last-out": ("data.split=leave-last-out",),
    "mmrec-random": ("data.split=mmrec-random", "data.split_seed=0"),
}
BASELINE = "popularity"
MODALITIES = {"iisan": "text,image"}
"""What a kind reads that does not take all: IISAN has two modalities, as its code."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the data of a part lie, and what its runs share."""

    name: str
    folder: Path
    settings: tuple[str, ...]
    seeds: Sequence[int]

    def arguments(self, kind: str, seed: int) -> list[str]:
        """Return the arguments that train a kind here."""
        model = model_settings_classes()[kind]
        given = [
            setting
            for setting in self.settings
            if not setting.startswith("model.") or _field(setting) in model.model_fields
        ]
        cache = ["--cache", str(self.folder / "cache")]
        return [
            "train",
            *("--dataset", str(self.folder / "dataset"), "--model", kind, "--seed", str(seed)),
            *(cache if reads_hidden_states(kind) else []),
            *(("--modality", MODALITIES[kind]) if kind in MODALITIES else ()),
            *(part for setting in given for part in ("--set", setting)),
            *("--out", str(self.run(kind, seed)), "--resume", "--json"),
        ]

    def run(self, kind: str, seed: int) -> Path:
        """Return the run folder of a kind and seed."""
        return self.folder / "runs" / self.name / f"{kind}-seed{seed}"

    def seeds_of(self, kind: str) -> Sequence[int]:
        """Return the seeds that a kind is trained with: what only counts has no chance in it."""
        return self.seeds if is_trained_by_steps(kind) else self.seeds[:1]


def main() -> None:
    """Train what is missing and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where data and runs go; kept")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CROSSAN_TEST_DATA", ".")))
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=30, help="at most")
    parser.add_argument("--only", nargs="*", default=_kinds(), metavar="KIND")
    arguments = parser.parse_args()
    failed: list[str] = []
    for name in arguments.parts:
        for place, kinds in PARTS[name](arguments):
            wanted = [kind for kind in kinds if kind in {*arguments.only, BASELINE}]
            done = [kind for kind in wanted if train(place, kind, failed)]
            write_section(place.name, compared(place, done), about(place), PAGE)
    if failed:
        sys.exit("\n".join(["could not be trained:", *failed]))


def _kinds() -> list[str]:
    """Return the kinds that can be trained without other runs."""
    return [kind for kind, settings in model_settings_classes().items() if not settings.is_of_runs]


def reads_hidden_states(kind: str) -> bool:
    """Whether a kind needs stores."""
    return bool(model_settings_classes()[kind]().reads_hidden_states)


def is_trained_by_steps(kind: str) -> bool:
    """Whether a kind descends a gradient."""
    return bool(model_settings_classes()[kind]().is_trained_by_steps)


def sample(arguments: argparse.Namespace) -> Iterator[tuple[Place, list[str]]]:
    """Yield the built-in sample with all kinds."""
    folder: Path = arguments.out / "sample"
    if not (folder / "dataset/dataset.json").is_file():
        crossan("data", "sample", str(folder / "dataset"))
    extract(folder)
    settings = (*SMALL, f"max_epochs={arguments.epochs}")
    yield Place("sample", folder, settings, arguments.seeds), _kinds()


def media(arguments: argparse.Namespace) -> Iterator[tuple[Place, list[str]]]:
    """Yield bench_microlens_mm with all kinds."""
    folder: Path = arguments.out / "mm"
    source = arguments.data / "bench_microlens_mm"
    if not (folder / "dataset/dataset.json").is_file():
        pairs = ("--sequences", str(source / "pairs.tsv"))
        out = ("--out", str(folder / "dataset"))
        crossan("data", "import", "--format", "table", str(source), *pairs, *out)
    extract(folder)
    settings = (*SMALL, f"max_epochs={arguments.epochs}")
    yield Place("mm", folder, settings, arguments.seeds), _kinds()


def splits(arguments: argparse.Namespace) -> Iterator[tuple[Place, list[str]]]:
    """Yield MicroLens-50K under both splits with the kinds that take no training steps."""
    folder: Path = arguments.out / "microlens50k"
    if not (folder / "dataset/dataset.json").is_file():
        out = ("--out", str(folder / "dataset"), "--name", "microlens-50k")
        source = str(arguments.data / "microlens50k")
        crossan("data", "import", "--format", "microlens", source, *out)
    kinds = [kind for kind in model_settings_classes() if not is_trained_by_steps(kind)]
    for split, settings in SPLITS.items():
        yield Place(f"microlens50k-{split}", folder, settings, [0]), kinds


PARTS = {"sample": sample, "mm": media, "splits": splits}


def extract(folder: Path) -> None:
    """Write tiny backbones and the stores that are not there yet."""
    backbones = folder / "backbones"
    if not backbones.is_dir():
        crossan("backbones", "init-tiny", str(backbones))
    places = ("--dataset", str(folder / "dataset"), "--cache", str(folder / "cache"))
    crossan("extract", "--modality", "all", *places, "--backbone", str(backbones))


def train(place: Place, kind: str, failed: list[str]) -> bool:
    """Train a kind with all its seeds; return whether all of them have a result."""
    for seed in place.seeds_of(kind):
        if (place.run(kind, seed) / "result.json").is_file():
            continue
        print(f"{place.name}: {kind}, seed {seed}", file=sys.stderr, flush=True)
        try:
            crossan(*place.arguments(kind, seed))
        except subprocess.CalledProcessError as error:
            failed.append(f"{place.name}, {kind}, seed {seed}: exit {error.returncode}")
            return False
    return True


def compared(place: Place, kinds: Sequence[str]) -> str:
    """Return the tables of `crossan compare` for kinds."""
    rows = [f"{kind}={place.run(kind, seed)}" for kind in kinds for seed in place.seeds_of(kind)]
    return crossan("compare", *rows, "--baseline", BASELINE, "--format", "markdown")


def about(place: Place) -> str:
    """Return what a place's runs share."""
    settings = ", ".join(f"`{setting}`" for setting in place.settings)
    return f"{settings}. Seconds per epoch are indications."


def write_section(name: str, tables: str, text: str, page: Path) -> None:
    """Put tables, and a text before them, where a page has its earlier ones."""
    machine = (
        f"{date.today().isoformat()}, {os.cpu_count()} cores, {platform.machine()}, Python"
        f" {platform.python_version()}; {text}"
    )
    body = tables.split("\n", 1)[1].strip()
    section = f"<!-- begin {name} -->\n\n{machine}\n\n{body}\n\n<!-- end {name} -->"
    whole = page.read_text(encoding="utf-8")
    pattern = re.compile(
        rf"<!-- begin {re.escape(name)} -->.*?<!-- end {re.escape(name)} -->", re.DOTALL
    )
    if not pattern.search(whole):
        sys.exit(f"{page}: expected <!-- begin {name} --> and its end")
    page.write_text(pattern.sub(lambda _: section, whole), encoding="utf-8")


def crossan(*arguments: str) -> str:
    """Run a command of the product; return what it prints."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("CROSSAN_")}
    command = [sys.executable, "-m", "crossan", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=own)
    return done.stdout


def _field(setting: str) -> str:
    return setting.partition("=")[0].removeprefix("model.").partition(".")[0]


if __name__ == "__main__":
    main()
