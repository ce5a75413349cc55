"""Everything that needs an accelerator, in one go: ``make gpu``, and ``make gpu DRY=1`` on a CPU.

First what must hold (loss and gradients, ranks, the three residences, repeats and resumption,
recorded steps, extraction of all four families), then what is measured. Each part is taken whatever the one before
came to; what a run has no time for is named. The page and the raw figures go into ``--out``.

It ends with 1 where a check does not hold or a part could not be finished.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
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
from speed import Speed  # noqa: E402
from steps import Steps  # noqa: E402
from world import make_world  # noqa: E402

PARTS = (
    *("loss and gradients", "ranks", "residences", "repeats", "recording", "states", "steps"),
    *("training", "validation", "epochs", "out of memory", "kinds", "extraction"),
    *("residences, epochs", "streamed"),
)


def main() -> None:
    """Check, measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry", action="store_true", help="on the CPU, at small shapes")
    parser.add_argument("--out", type=Path, required=True, help="folder of the page")
    parser.add_argument("--seconds", type=float, default=460.0, help="for all parts together")
    parser.add_argument("--only", nargs="*", metavar="PART", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    if not arguments.dry and not torch.cuda.is_available():
        parser.error("expected a CUDA device, found none; `make gpu DRY=1` runs on the CPU")
    card = Card(torch.device("cpu" if arguments.dry else "cuda:0"))
    shape = DRY if arguments.dry else FULL
    report = Report(arguments.seconds)
    with tempfile.TemporaryDirectory() as folder:
        parts = parts_of(card, shape, Path(folder), report)
        for name in arguments.only:
            report.take(name, parts[name])
            # After each part: what was seen stays, whatever ends this.
            page = write_page(report, card.facts(), shape.name, arguments.out)
    print(page.read_text(encoding="utf-8"))
    if not report.holds:
        sys.exit(1)


def parts_of(
    card: Card, shape: Shape, folder: Path, report: Report
) -> dict[str, Callable[[], None]]:
    """Return all parts by name, what must hold first, and what takes long last."""
    world = make_world(shape)
    steps, speed = Steps(card, shape, world, report), Speed(card, shape, world, report)
    exact = Steps(card, DRY, make_world(DRY), report)
    runs = Runs(card, shape, folder, report)
    extraction = Extraction(card, shape, folder, report)
    kinds = Kinds(card, DRY, folder, report)
    parts = (
        *(exact.check_steps, exact.check_ranks, runs.check_residences, runs.check_repeats),
        *(runs.check_recording, extraction.check_states, speed.measure_steps),
        *(speed.measure_training, steps.measure_validation, runs.measure_epochs),
        *(runs.check_shortage, kinds.train_all, extraction.measure),
        *(runs.measure_residences, runs.measure_streaming),
    )
    return dict(zip(PARTS, parts, strict=True))


if __name__ == "__main__":
    main()
