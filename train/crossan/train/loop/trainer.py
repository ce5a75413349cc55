"""Training from the first epoch to the last.

It stops where validation HR@10 has not risen for a while, and can be resumed after
any step.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

from crossan.common.console import note
from crossan.common.interrupts import end_by, finishing_on
from crossan.common.memory import naming_shortage
from crossan.train.loop.counting import count
from crossan.train.loop.epochs import Training
from crossan.train.loop.mixing import mix
from crossan.train.loop.progress import TrainingProgress
from crossan.train.loop.recorder import Recorder
from crossan.train.loop.saying import say_end
from crossan.train.loop.trainable import RefitRun, TrainableRun, announce
from crossan.train.models.hybrid_of_runs import HybridOfRuns
from crossan.train.models.recommender import CountingModel
from crossan.train.ranks.ranks import ALONE, Ranks

__all__ = ["fit", "refit"]


def fit(
    run: TrainableRun,
    ranks: Ranks = ALONE,
    on_step: Callable[[], None] | None = None,
    on_epoch: Callable[[], None] | None = None,
    recorder: Recorder | None = None,
) -> TrainingProgress:
    """Train a run until early stopping and return how far it got.

    It goes on from the newest checkpoint in the run folder, where there is one,
    and the best weights are in the folder then. Every random choice follows from
    the seed, the epoch number and the states of torch's generators, which a
    checkpoint holds: a run resumed after any step equals one that was never
    interrupted. SIGTERM and Ctrl-C finish the step in hand, write a checkpoint
    and end with 143 and 130. The file ``end-here`` in the run folder ends it likewise, once an
    epoch is done, and the progress is returned. Several ranks take every step, save, stop and fail
    together. A model that only counts takes no step.

    Parameters
    ----------
    run
        What is trained, on what, and where it is recorded.
    ranks
        The processes that train together.
    on_step
        Called before every step.
    on_epoch
        Called after every epoch, whose line then stands in ``metrics.jsonl``.
    recorder
        What records the steps where they can be recorded, by default that of the device. A
        `crossan.train.loop.recorder.Repeater` gives the same numbers without recording.

    Raises
    ------
    TrainingDivergedError
        The loss or the weights became NaN or infinite.
    StoreIntegrityError
        The best checkpoint of a resumed run is damaged.
    """
    return _train(run, ranks, on_step, on_epoch, recorder)


def refit(
    run: RefitRun,
    ranks: Ranks = ALONE,
    on_step: Callable[[], None] | None = None,
    on_epoch: Callable[[], None] | None = None,
    recorder: Recorder | None = None,
) -> TrainingProgress:
    """Train on all that a run keeps, for ``max_epochs`` epochs, and return how far it got.

    Nothing is validated. The weights after the last epoch are the best ones. All else
    is as for `fit`.
    """
    return _train(run, ranks, on_step, on_epoch, recorder)


def _train(
    run: TrainableRun | RefitRun,
    ranks: Ranks,
    on_step: Callable[[], None] | None,
    on_epoch: Callable[[], None] | None,
    recorder: Recorder | None,
) -> TrainingProgress:
    announce(run, ranks.count)
    if isinstance(run.model, HybridOfRuns):
        return mix(run)
    if isinstance(run.model, CountingModel):
        return count(run)
    kind = "triples" if run.settings.model.learns_from == "triples" else "users"
    with finishing_on(signal.SIGTERM, signal.SIGINT, work="step") as interrupt:
        training = Training(run, interrupt, ranks, recorder)
        training.begin()
        while not training.is_over:
            with naming_shortage(f"a step of {run.settings.batch_size:,} {kind}"):
                training.take_epoch(on_step)
            if on_epoch is not None:
                with training.paused():
                    on_epoch()
        training.end()
    if training.told:
        note(
            f"checkpoint of {training.reached} written; the same command with --resume goes on"
            " from there"
        )
        end_by(training.told)
    if training.is_ended and not training.reached.is_over(run.settings):
        say_end(training.reached, run.folder.path)
    return training.reached
