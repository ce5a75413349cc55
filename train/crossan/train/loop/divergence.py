"""The record of a training that diverged, and the error that names it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from crossan.train.loop.loss_window import TrainingDivergedError
from crossan.train.record.run_folder import RunFolder

__all__ = ["are_finite", "record_divergence"]

_ITEMS_NAMED = 10
"""Items of a diverged batch that its error names; all of them stand in ``divergence.json``."""


def are_finite(model: nn.Module) -> bool:
    """Whether all weights are finite numbers."""
    return bool(
        torch.stack([tensor.isfinite().all() for tensor in model.state_dict().values()]).all()
    )


def record_divergence(
    run: RunFolder,
    what: str,
    epoch: int,
    step: int,
    items: Tensor,
    item_ids: np.ndarray,
    newest: str | None,
) -> TrainingDivergedError:
    """Write ``divergence.json`` and return the error that names the batch.

    Parameters
    ----------
    run
        Where it is written.
    what
        What diverged, for example ``"the loss became nan"``.
    epoch, step
        Where, both counted from 1.
    items
        Catalogue rows in the batch.
    item_ids
        The catalogue, ``(items,)``.
    newest
        Which checkpoint is the newest, in words; None where there is none yet.
    """
    kept = "there was no checkpoint yet"
    if newest is not None:
        kept = f"the checkpoint of {newest} is kept"
    names = [str(item_ids[row]) for row in items.tolist()]
    path = run.write_divergence({"epoch": epoch, "step": step, "what": what, "items": names})
    named = ", ".join(names[:_ITEMS_NAMED]) + (", ..." if len(names) > _ITEMS_NAMED else "")
    return TrainingDivergedError(
        f"{what} in epoch {epoch}, step {step} ({len(names):,} items: {named}); {kept}\n"
        f"  all items: {path}",
        remedy="Start a run with smaller rates: --set optimiser.lr=..."
        " --set optimiser.adapter_lr=...",
    )
