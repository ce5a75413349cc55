"""Everything that needs an accelerator, in one go: ``make gpu``, and ``make gpu DRY=1`` on a CPU.

First what must hold (loss and gradients, ranks, the three residences, repeats and resumption,
extraction of all four families), then what is measured. Each part is taken whatever the one before
came to; what a run has no time for is named. The page and the raw figures go into ``--out``.

It ends with 1 where a check does not hold or a part could not be finished.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "benchmarks")]

from card import Card  # noqa: E402
from extraction import Extraction  # noqa: E402
from kinds import Kinds  # noqa: E402
from page import write_page  # noqa: E402
from report import Report  # noqa: E402
from runs import Runs  # noqa: E402
from shape import DRY, FULL, Shape  # noqa: E402
from steps import Steps  # noqa: E402
from world import make_world  # noqa: E402


def main() -> None:
    """Check, measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry", action="store_true", help="on the CPU, at small shapes")
    parser.add_argument("--out", type=Path, required=True, help="folder of the page")
    parser.add_argument("--seconds", type=float, default=460.0, help="for all parts together")
    parser.add_argument("--only", nargs="*", metavar="PART", help="names of parts; default: all")
    arguments = parser.parse_args()
    if not arguments.dry and not torch.cuda.is_available():
        parser.error("expected a CUDA device, found none; `make gpu DRY=1` runs on the CPU")
    card = Card(torch.device("cpu" if arguments.dry else "cuda:0"))
    shape = DRY if arguments.dry else FULL
    report = Report(arguments.seconds)
    with tempfile.TemporaryDirectory() as folder:
        take_parts(card, shape, Path(folder), report, arguments.only)
    page = write_page(report, card.facts(), shape.name, arguments.out)
    print(page.read_text(encoding="utf-8"))
    if not report.holds:
        sys.exit(1)


def take_parts(
    card: Card, shape: Shape, folder: Path, report: Report, only: list[str] | None = None
) -> None:
    """Take all parts in order: what must hold first, and what takes long last."""
    steps = Steps(card, shape, make_world(shape), report)
    exact = Steps(card, DRY, make_world(DRY), report)
    runs = Runs(card, shape, folder, report)
    extraction = Extraction(card, shape, folder, report)
    kinds = Kinds(card, DRY, folder, report)
    parts = {
        "loss and gradients": exact.check_steps,
        "ranks": exact.check_ranks,
        "residences": runs.check_residences,
        "repeats": runs.check_repeats,
        "states": extraction.check_states,
        "steps": steps.measure_steps,
        "validation": steps.measure_validation,
        "stores": runs.write_whole,
        "epochs": runs.measure_epochs,
        "kinds": kinds.train_all,
        "extraction": extraction.measure,
        "residences, epochs": runs.measure_residences,
        "streamed": runs.measure_streaming,
    }
    for name, part in parts.items():
        if not only or name in only:
            report.take(name, part)


if __name__ == "__main__":
    main()
