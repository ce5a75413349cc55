"""What the ranks of a training agree on after every step: whether to go on, and whether to save."""

from __future__ import annotations

import signal

from crossan.common.interrupts import ToldToEnd
from crossan.train.loop.saver import Saver
from crossan.train.loop.trainable import RefitRun, TrainableRun
from crossan.train.ranks.ranks import Ranks
from crossan.train.record.ending import EndWatch

__all__ = ["Agreement"]


class Agreement:
    """The latest answers, which are the same on every rank.

    Parameters
    ----------
    run
        What is trained.
    saver
        What knows when a checkpoint is due.
    interrupt
        Set where this process is told to end.
    ranks
        The processes that train together.
    """

    def __init__(
        self, run: TrainableRun | RefitRun, saver: Saver, interrupt: ToldToEnd, ranks: Ranks
    ) -> None:
        self._saver, self._interrupt, self._ranks = saver, interrupt, ranks
        # A refit takes as many epochs as its run did: nobody ends it early. Only the first rank
        # looks at the folder.
        may_be_ended = isinstance(run, TrainableRun) and ranks.is_first
        self._end_watch = EndWatch(run.folder.path) if may_be_ended else None
        self.signal = 0
        """The signal that told a rank to end, 0 for none."""
        self.is_save_due = False
        """Whether a checkpoint is to be written now."""
        self.asks_for_end = False
        """Whether somebody asked for the end of the run (``crossan train-end``)."""

    def settle(self, *, is_end_of_epoch: bool = False) -> None:
        """Ask every rank again.

        At the end of an epoch the folder is looked at, however lately that was done.
        """
        is_told = self._interrupt.is_set() or self._ranks.told_to_end.is_set()
        our_signal = (self._interrupt.number or signal.SIGTERM) if is_told else 0
        watch = self._end_watch
        asks = watch is not None and watch.is_requested(now=is_end_of_epoch)
        # Only the first rank writes, so only its clock counts.
        is_due = self._ranks.is_first and self._saver.is_due
        self.signal, is_due_anywhere, asks_anywhere = self._ranks.highest(our_signal, is_due, asks)
        self.is_save_due, self.asks_for_end = bool(is_due_anywhere), bool(asks_anywhere)
