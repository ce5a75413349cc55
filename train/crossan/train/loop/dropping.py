"""The drop of the learning rates after a plateau, or after an epoch that the settings name.

After a plateau training goes on from the best weights. The latest have been trained for
``patience`` epochs without a gain, and have learned what validation does not reward. After an epoch
that the settings name it goes on from what was judged there. The moments are set to zero, as they
belong to other weights. So a drop is what a new run from these weights (``--init``) at lower rates
would be, but within one run and exact under resume.
"""

from __future__ import annotations

from crossan.train.loop.adamw import AdamW
from crossan.train.loop.averaging import EpochAverage
from crossan.train.loop.gradient_sum import weights_digest
from crossan.train.loop.progress import TrainingProgress
from crossan.train.loop.saver import Saver
from crossan.train.loop.saying import say_drop
from crossan.train.loop.trainable import RefitRun, TrainableRun
from crossan.train.ranks.ranks import Ranks

__all__ = ["drop_rates"]


def drop_rates(
    run: TrainableRun | RefitRun,
    reached: TrainingProgress,
    optimiser: AdamW,
    average: EpochAverage,
    saver: Saver,
    ranks: Ranks,
) -> bool:
    """Lower the rates after the epoch just done, where that is its turn.

    Parameters
    ----------
    run, optimiser, average, saver
        What is trained, and what remembers its weights.
    reached
        How far it got, which learns of the drop.
    ranks
        The processes that train together, all of which must call this.

    Returns
    -------
    bool
        Whether they are lower now, so that a checkpoint is due: once a better epoch takes the place
        of the best, no checkpoint from before the drop leads to the weights that it went back to.

    Raises
    ------
    StoreIntegrityError
        The best weights are damaged, or of another epoch.
    IncompatibleError
        The ranks have read different ones.
    """
    settings = run.settings.optimiser
    done = sum(drop["after"] == reached.epoch for drop in reached.drops)
    drops, came_from = settings.drop_after.count(reached.epoch) - done, reached.epoch
    if drops > 0:
        average.go_on_from_mean()
    # Whether or not ``max_epochs`` are used up: a run that is given more of them later has to be
    # where it would have been with more from the beginning.
    elif len(reached.drops) < settings.plateau_drops and reached.is_plateau(run.settings):
        drops, came_from = 1, reached.best_epoch
        run.model.load_state_dict(dict(saver.best_weights(reached.best_epoch)))
        average.forget()
    else:
        return False
    optimiser.forget_moments()
    for _ in range(drops):
        reached.drops.append({"after": reached.epoch, "from": came_from})
        say_drop(reached.drops[-1], settings.drop_factor)
    if ranks.count > 1:
        ranks.require_same({"weights": weights_digest(run.model)})
    return True
