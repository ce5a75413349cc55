"""Judging the chosen setting on test.

Nothing else in a sweep looks at test targets, and this only after the choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crossan.cache_schema.errors import CrossanError
from crossan.common.console import note
from crossan.common.interrupts import ToldToEnd
from crossan.train.sweep.choosing import SettingResult, cold_spread, spread
from crossan.train.sweep.devices import Slot
from crossan.train.sweep.folder import SweepFolder
from crossan.train.sweep.processes import TrialCommand, run_commands
from crossan.train.sweep.trials import label_of

__all__ = ["ChosenRunError", "judge_on_test"]


class ChosenRunError(CrossanError):
    """A run of the chosen setting could not be judged on test."""


def judge_on_test(
    chosen: SettingResult, folder: SweepFolder, slots: Sequence[Slot], interrupt: ToldToEnd
) -> dict[str, Any] | None:
    """Finish the runs of the chosen setting and return ``test`` and ``cold_test``, their spread.

    Each run becomes an ordinary finished run: ``crossan-train --resume`` has
    nothing left to train, ranks validation and test targets, and writes
    ``result.json``. None where the sweep was interrupted.

    Raises
    ------
    ChosenRunError
        A run fails.
    """
    trials = [result.trial for result in chosen.results]
    # A run that has a result is not judged again.
    commands = [
        TrialCommand(trial.name, folder.arguments(trial), folder.log(trial))
        for trial in trials
        if folder.run(trial).result() is None
    ]
    if commands:
        note(
            f"chosen by validation: {label_of(chosen.point)}; only now are its runs judged on test"
        )
    failed: list[str] = []

    def note_end(command: TrialCommand, exit_code: int, reason: str) -> None:
        if exit_code and not interrupt.is_set():
            failed.append(f"{command.name}: {reason}")

    run_commands(commands, slots, interrupt, note_end, lambda _: folder.refresh())
    if failed:
        listed = "\n  ".join(failed)
        raise ChosenRunError(
            f"{len(failed)} of the chosen setting's {len(trials)} runs"
            f" could not be judged on test\n  {listed}",
            remedy="Mend the cause and run the same command again",
        )
    results = [folder.run(trial).result() for trial in trials]
    known = [result for result in results if result is not None]
    # After an interrupt some runs have no result: a mean over the others is not the setting's.
    if len(known) < len(trials):
        return None
    return {
        "test": spread([result["test"] for result in known]),
        "cold_test": cold_spread([result["cold_test"] for result in known]),
    }
