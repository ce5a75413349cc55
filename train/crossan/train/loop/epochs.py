"""One training, epoch by epoch, which can be resumed after any step.

An epoch takes its steps and ranks the validation targets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from crossan.common.console import progress
from crossan.common.interrupts import ToldToEnd
from crossan.train.evaluation.encoding import EvaluationStoppedError
from crossan.train.evaluation.metrics import selection_figure
from crossan.train.features.rechecking import Rechecking
from crossan.train.loop.agreement import Agreement
from crossan.train.loop.averaging import EpochAverage
from crossan.train.loop.choosing import recorder_of, steps_of
from crossan.train.loop.divergence import are_finite, record_divergence
from crossan.train.loop.dropping import drop_rates
from crossan.train.loop.gradient_sum import gradient_sum_of, seed_step, weights_digest
from crossan.train.loop.loss_window import LossWindow, TrainingDivergedError, first_divergence
from crossan.train.loop.optimiser import make_optimiser
from crossan.train.loop.preparing import prepared_batches
from crossan.train.loop.recorder import Recorder
from crossan.train.loop.saver import Saver
from crossan.train.loop.saying import say_epoch, times
from crossan.train.loop.schedule import Schedule, named_rates
from crossan.train.loop.trainable import RefitRun, TrainableRun
from crossan.train.loop.validation import Judge
from crossan.train.loop.warm_start import load_initial_weights
from crossan.train.models.recommender import TableModel
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.objectives import ObjectiveContext, make_objective
from crossan.train.ranks.ranks import Ranks
from crossan.train.sequences.popularity import log_popularity, training_counts
from crossan.train.sequences.refit import refit_split
from crossan.train.sequences.splits import train_split

__all__ = ["Training"]

_SEED_STRIDE = 1_000_003
"""Keeps the random streams of neighbouring seeds apart."""


class Training:
    """One training and how far it got.

    Parameters
    ----------
    run
        What is trained, on what, and where it is recorded.
    interrupt
        Set where this process is told to end.
    ranks
        The processes that train together.
    recorder
        What records the steps where they can be recorded; by default that of the device, which
        a CPU has not.
    """

    def __init__(
        self,
        run: TrainableRun | RefitRun,
        interrupt: ToldToEnd,
        ranks: Ranks,
        recorder: Recorder | None = None,
    ) -> None:
        if not isinstance(run.model, SequenceModel | TableModel):
            got = type(run.model).__name__
            raise TypeError(f"expected a SequenceModel or a TableModel, got {got}")
        self._model, self._features, self._settings = run.model, run.features, run.settings
        self._run, self._ranks = run, ranks
        length = run.settings.data.input_length
        if isinstance(run, RefitRun):
            train = refit_split(run.seen, length)
        else:
            train = train_split(run.seen, length)
        self._judge = Judge(run, ranks, interrupt)
        counts = training_counts(run.seen.training_items, len(run.seen.item_ids))
        log_p = log_popularity(counts).to(run.device)
        context = ObjectiveContext(run.settings, train, log_p, ranks, run.seen)
        self._objective = make_objective(context)
        self._optimiser = make_optimiser(self._model.parameter_groups(), run.settings.optimiser)
        self._average = EpochAverage(self._model, run.settings.average_epochs)
        self._saver = Saver(
            self._model,
            self._optimiser,
            self._objective,
            self._average,
            run.folder,
            run.settings.checkpoint,
        )
        self._steps = steps_of(
            run,
            context,
            self._objective,
            self._optimiser,
            gradient_sum_of(self._model, ranks),
            recorder or recorder_of(run.device),
        )
        self._window = LossWindow(run.device)
        self._latest_loss = ""
        """The last loss in words."""
        self._agreed = Agreement(run, self._saver, interrupt, ranks)
        self.reached = self._saver.restore()
        weights = weights_digest(self._model) if ranks.count > 1 else ""
        ranks.require_same({"checkpoint": str(self.reached), "weights": weights})
        run.folder.write_metrics(self.reached.metrics)
        self._lap_begun = time.monotonic()

    @property
    def told(self) -> int:
        """The signal that told a rank to end, 0 for none."""
        return self._agreed.signal

    @property
    def is_over(self) -> bool:
        """Whether no epoch is left to take, or a rank was told to end."""
        return self._is_stopped or self.reached.is_over(self._settings)

    @property
    def is_ended(self) -> bool:
        """Whether somebody asked for the end, and there is an epoch to evaluate."""
        return self._agreed.asks_for_end and self.reached.epoch > 0

    @property
    def _is_stopped(self) -> bool:
        """Whether no step is to be taken any more, whatever the settings say."""
        return bool(self.told) or self.is_ended

    def begin(self) -> None:
        """Take the weights of another run where one is named, and drop figures that grow old."""
        if self._settings.init is not None and self._saver.newest is None:
            item_ids = self._run.seen.item_ids
            init = Path(self._settings.init)
            load_initial_weights(self._model, init, self._run.folder, item_ids)
            self._save()  # from here on nothing depends on the run that was begun from
        self._agreed.settle()
        if self.reached.epoch and not self.reached.step:
            self._drop_rates()  # those that a refit learns of when its run has gone on
        if not self.is_over:
            # They are of the epochs so far: nobody may take them for those of what comes.
            self._run.folder.forget_figures()

    def take_epoch(self, on_step: Callable[[], None] | None) -> None:
        """Take the steps that are left of the epoch, then rank the validation targets, if any.

        Told to end, it returns after the step in hand.
        """
        reached, epoch, course = self.reached, self.reached.epoch + 1, self.reached.course_epoch
        batches = self._objective.batches(epoch)
        left, schedule = batches[reached.step :], Schedule(self._settings.optimiser, len(batches))
        if not reached.step:
            torch.manual_seed(self._settings.seed * _SEED_STRIDE + epoch)
        self._model.train()
        if isinstance(self._model, TableModel):
            self._model.begin_epoch(epoch)
        with (
            # One rank does it for all, which mostly read the same files.
            self._features.recheck() if self._ranks.is_first else Rechecking(None) as rechecking,
            progress(f"epoch {epoch}/{self._settings.max_epochs}", len(left), "steps") as steps,
            prepared_batches(
                self._steps.prepare, left, is_ahead=not self._settings.reference
            ) as ready,
        ):
            for prepared in ready:
                if on_step is not None:
                    on_step()
                rechecking.look()
                self._seed_step()
                schedule.apply(self._optimiser, course, reached.step, len(reached.drops))
                self._window.add(self._steps.take(prepared))
                self._count_step()
                steps.advance(1, self._latest_loss)
                self._agreed.settle()
                if self._agreed.is_save_due:
                    self._save()
                if self._is_stopped:
                    return
            # Before the epoch counts: what was found must not be followed by a best checkpoint.
            rechecking.finish()
        # Again, for an epoch that was stopped after its last step and takes none now.
        schedule.apply(self._optimiser, course, len(batches) - 1, len(reached.drops))
        self._close_epoch()
        self._agreed.settle(is_end_of_epoch=True)
        if self._agreed.is_save_due:
            self._save()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time of a block, which is no training."""
        self._lap()
        yield
        self._lap_begun = time.monotonic()

    def end(self) -> None:
        """Write a checkpoint of what was done since the last one."""
        if str(self.reached) != self._saver.newest:
            self._save()
        self._agreed.settle()  # a signal that came meanwhile is not forgotten

    def _seed_step(self) -> None:
        """Have several ranks draw the same dropout again when the step is repeated."""
        if self._ranks.count > 1:
            seed_step(self._ranks, self._settings.seed, self.reached.epoch, self.reached.step)

    def _count_step(self) -> None:
        """Count a step that was taken, and look at the losses where many are unseen."""
        self.reached.step += 1
        self._saver.count_step()
        if self._window.is_full:
            self._check_losses()

    def _close_epoch(self) -> None:
        """Rank the validation targets, if any, and write the line of the epoch.

        Told to end meanwhile, it leaves the epoch open.
        """
        self._check_losses()
        reached, epoch = self.reached, self.reached.epoch + 1
        try:
            with self._average.judged():
                judged = self._judge.figures()
                # What is not judged is kept as it is in the end: the latest is the best so far.
                select_by, valid = self._settings.select_by, judged["valid"]
                figure = None if valid is None else selection_figure(valid, select_by)
                is_best = figure is None or figure > reached.best_hr
                hit_ratio = None if valid is None else valid["hr@10"]
                if is_best:
                    self._saver.keep_best(epoch, hit_ratio)
                with self.paused():
                    self._saver.keep_epoch(epoch, hit_ratio)
        except EvaluationStoppedError:
            return
        self._lap()
        line = {
            "epoch": epoch,
            "loss": reached.loss_sum / reached.step,
            **judged,
            "is_best": is_best,
            **times(reached.seconds - reached.seconds_before),
            "rates": named_rates(self._optimiser),
        }
        reached.close_epoch(line, figure)
        self._run.folder.append_metrics(line)
        say_epoch(self._settings, reached)
        self._drop_rates()

    def _drop_rates(self) -> None:
        """Lower the rates where that is the turn of the epoch just done."""
        run, optimiser, average = self._run, self._optimiser, self._average
        if drop_rates(run, self.reached, optimiser, average, self._saver, self._ranks):
            self._save()

    def _save(self) -> None:
        self._check_losses()
        if not are_finite(self._model):
            raise self._diverged("the weights are no longer finite")
        with self.paused():
            self._saver.save(self.reached)

    def _lap(self) -> None:
        now = time.monotonic()
        self.reached.seconds += now - self._lap_begun
        self._lap_begun = now

    def _check_losses(self) -> None:
        """Look at the losses since the last look, all of one epoch."""
        losses = self._window.drain()
        diverged_at = first_divergence(losses)
        if diverged_at is not None:
            self.reached.step -= len(losses) - diverged_at - 1
            raise self._diverged(f"the loss became {losses[diverged_at]}")
        # One by one: in whatever windows the losses come, the sum is the same.
        for loss in losses:
            self.reached.loss_sum += loss
            self._latest_loss = f"loss {loss:.3f}"

    def _diverged(self, what: str) -> TrainingDivergedError:
        """Record the batch of the last step and return the error that names it."""
        # Between two epochs the last step is that of the epoch before.
        epoch = self.reached.epoch + bool(self.reached.step)
        batches = self._objective.batches(epoch)
        step = self.reached.step or len(batches)
        items = self._objective.items_of(batches[step - 1])
        run, newest = self._run, self._saver.newest
        return record_divergence(run.folder, what, epoch, step, items, run.seen.item_ids, newest)
