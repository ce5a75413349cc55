"""The weights of the last epochs, kept beside the best and the newest where a run is to have them.

Each is a checkpoint ``checkpoints/epoch-N`` of weights alone, those that were judged. A run that
is resumed before one of them writes it again, with the same bytes.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from crossan.cache_schema.errors import UsageError
from crossan.common.files import move
from crossan.train.record.checkpoint import (
    BEST,
    EPOCH,
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
)

__all__ = ["keep_epoch", "kept_epochs", "load_epoch"]


def keep_epoch(checkpoints: Path, epoch: int, checkpoint: Checkpoint, count: int) -> None:
    """Write the checkpoint of an epoch, and remove those that are ``count`` epochs older or more.

    Parameters
    ----------
    checkpoints
        The folder ``checkpoints`` of the run.
    epoch, checkpoint
        The epoch, and its weights under ``"model"``.
    count
        How many epochs are kept.
    """
    save_checkpoint(checkpoints, _name(epoch), checkpoint)
    for older in kept_epochs(checkpoints):
        if older <= epoch - count:
            # Renamed first: half a checkpoint must never have the name of a whole one.
            retired = checkpoints / f".{_name(older)}-retired"
            move(checkpoints / _name(older), retired)
            shutil.rmtree(retired, ignore_errors=True)


def kept_epochs(checkpoints: Path) -> list[int]:
    """Return the epochs whose checkpoints are kept, in order."""
    names = [entry.name for entry in checkpoints.iterdir()] if checkpoints.is_dir() else []
    # Between two renames a checkpoint is still called `NAME-next`.
    matches = (EPOCH.fullmatch(name.removesuffix("-next")) for name in names)
    return sorted({int(match[1]) for match in matches if match is not None})


def load_epoch(run: Path, epoch: int) -> Checkpoint:
    """Return the weights of an epoch of a run: those that are kept, or the best.

    Raises
    ------
    UsageError
        The run has finished no epoch, or keeps none of this number. It names those it keeps.
    StoreIntegrityError
        They are damaged.
    """
    checkpoints = run / "checkpoints"
    kept = kept_epochs(checkpoints)
    if epoch in kept:
        return load_checkpoint(checkpoints, _name(epoch))
    if not any((checkpoints / name).is_dir() for name in (BEST, f"{BEST}-next")):
        raise UsageError(
            f"--epoch {epoch}: expected a run with a checkpoint of its best epoch, found none in"
            f" {checkpoints}",
            remedy=f"crossan-train --out {shlex.quote(str(run))} --resume",
        )
    best = load_checkpoint(checkpoints, BEST)
    if best.state.get("epoch") == epoch:
        return best
    also = f", and of the last ones {', '.join(map(str, kept))}" if kept else ""
    raise UsageError(
        f"--epoch {epoch}: expected an epoch whose weights {run} keeps, which are those of the best,"
        f" {best.state.get('epoch')}{also}",
        remedy="Train with --set checkpoint.keep_epochs=N to keep the last N"
        if not kept
        else f"crossan evaluate {shlex.quote(str(run))} --epoch {kept[-1]}",
    )


def _name(epoch: int) -> str:
    return f"epoch-{epoch}"
