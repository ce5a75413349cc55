"""The chosen setting's test figures: the one place of a sweep where test targets are looked at, after the choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crossan.cache_schema.errors import CrossanError
from crossan.common.console import note
from crossan.common.interrupts import ToldToEnd
from crossan.train.sweep.choosing import SettingResult, spread
from crossan.train.sweep.devices import Slot
from crossan.train.sweep.folder import SweepFolder
from crossan.train.sweep.processes import Order, run_orders
from crossan.train.sweep.trials import label_of

__all__ = ["ChosenRunError", "test_figures"]


class ChosenRunError(CrossanError):
    """A run of the chosen setting could not be judged on test."""


def test_figures(
    chosen: SettingResult, folder: SweepFolder, slots: Sequence[Slot], told: ToldToEnd
) -> dict[str, Any] | None:
    """Finish the chosen setting's runs, one a seed, and return mean and deviation of their test metrics.

    Each becomes an ordinary finished run: ``crossan-train --resume`` finds
    nothing left to train, ranks validation and test targets, and writes
    ``result.json``. A run that has one is not judged again. None where the
    sweep was told to end meanwhile.

    Raises
    ------
    ChosenRunError
        A run fails.
    """
    trials = [result.trial for result in chosen.results]
    orders = [
        Order(trial.name, folder.arguments(trial), folder.log(trial))
        for trial in trials
        if folder.run(trial).result() is None
    ]
    if orders:
        note(
            f"chosen by validation: {label_of(chosen.point)}; only now are its runs judged on test"
        )
    failed: list[str] = []

    def note_end(order: Order, exit_code: int, reason: str) -> None:
        if exit_code and not told.is_set():
            failed.append(f"{order.name}: {reason}")

    run_orders(orders, slots, told, note_end, lambda _: folder.refresh())
    if failed:
        raise ChosenRunError(
            f"{len(failed)} of the chosen setting's {len(trials)} runs could not be judged on test\n  "
            + "\n  ".join(failed),
            remedy="Mend that and run the same command again",
        )
    results = [folder.run(trial).result() for trial in trials]
    found = [result["test"] for result in results if result is not None]
    return spread(found) if len(found) == len(trials) else None


test_figures.__test__ = False  # type: ignore[attr-defined]  # not a test, whatever its name tells pytest
