"""The weights that a run is evaluated with, read again from its folder."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.train.record.checkpoint import BEST
from crossan.train.record.run_folder import RunFolder

__all__ = ["best_weights"]


def best_weights(folder: RunFolder, epoch: int) -> Mapping[str, Tensor]:
    """Return the weights of the best epoch.

    Raises
    ------
    StoreIntegrityError
        They are damaged, or those of another epoch.
    """
    best = folder.best_checkpoint()
    if best.state.get("epoch") != epoch:
        raise StoreIntegrityError(
            f"{folder.path}: expected the weights of epoch {epoch} in checkpoints/{BEST},"
            f" found those of epoch {best.state.get('epoch')}",
            remedy="Resume it with the max_epochs and patience it had before",
        )
    return best.tensors["model"]
