"""Judging a run again on its dataset as it is now, into a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError, UsageError
from crossan.common.datasets import KeptSequences, keep_sequences
from crossan.common.foreign import read_bounded
from crossan.common.split import LEAVE_LAST_OUT
from crossan.train.record.evaluations import begin_evaluation, write_evaluation
from crossan.train.record.kept_epochs import load_epoch
from crossan.train.record.refits import require_figures
from crossan.train.record.run_folder import RANKS_FILE
from crossan.train.runs.facts import TRAINING_FACTS
from crossan.train.runs.opening import OpenedRun
from crossan.train.runs.training import evaluate_run
from crossan.train.settings import HistoryMask

__all__ = ["evaluate_into"]

_LARGEST = 2**32
"""Bytes."""


def evaluate_into(
    folder: Path,
    run: OpenedRun,
    mask_history: HistoryMask,
    permute_seed: int | None = None,
    epoch: int | None = None,
) -> dict[str, Any]:
    """Judge a run by the targets that its dataset has now, and write a folder that says so.

    ``crossan compare`` takes the folder as if it were a run.

    Parameters
    ----------
    folder
        Where the figures and every user's ranks are written.
    run
        A finished run with the weights of its best epoch, or of ``epoch``.
    mask_history
        Which of a user's items before the target are left out.
    permute_seed
        How its hidden states are shuffled, for the record.
    epoch
        The epoch whose weights it has, None for the best.

    Raises
    ------
    UsageError
        The run is a refit, or is not finished.
    IncompatibleError
        What is held out now may be among what the run was trained on.
    """
    path = run.folder.path
    require_figures(path, run.settings)
    recorded = run.folder.result()
    if recorded is None:
        raise UsageError(
            f"{path}: expected a finished run, found no result.json",
            remedy=f"crossan-train --config {path}/config.toml --out {path} --resume",
        )
    if run.is_changed:
        _require_unseen(run)
    judged = run.folder.best_checkpoint() if epoch is None else load_epoch(path, epoch)
    begin_evaluation(folder, run.settings)
    result = {
        **evaluate_run(run, mask_history, folder / RANKS_FILE),
        **{name: recorded[name] for name in TRAINING_FACTS if name in recorded},
        "run": str(folder),
        "permute_features": permute_seed,
        "dataset_changed": run.is_changed,
        "evaluated": {
            "run": str(path.absolute()),
            "epoch": judged.state["epoch"],
            "sha256": judged.sha256["model.safetensors"],
            "dataset": run.dataset.digest,
        },
    }
    write_evaluation(folder, result)
    return result


def _require_unseen(run: OpenedRun) -> None:
    """Refuse to judge a run on a log of which it may have learned what is held out now.

    Where a log has only grown, the last items of a user are the ones that were held
    out before, or came after them: no training part has held them.
    """
    path, split = run.folder.path, run.settings.data.parted_by
    remedy = f"Train it on the dataset as it is now: crossan-train --config {path}/config.toml"
    remedy += f" --out {path}-2"
    if not split.is_by_time:
        how = "draws anew" if split.is_random else "reads anew"
        raise IncompatibleError(
            f"{path}: the dataset has changed, and data.split={split.name} {how} what is held"
            " out, which the run may have been trained on",
            remedy=remedy,
        )
    users, items = _held_out_before(path)
    data = run.settings.data
    everything = keep_sequences(
        run.dataset.interactions(),
        max_items=max(run.dataset.counts["interactions"], data.min_items),
        min_items=data.min_items,
        split=LEAVE_LAST_OUT,
    )
    lost = _without_their_last(everything, users, items)
    if len(lost):
        raise IncompatibleError(
            f"{path}: expected a log that has only grown since the run was trained, found"
            f" {len(lost):,} users without the items that were held out of theirs,"
            f" first: {lost[0]}; the run may have been trained on what is held out of them now",
            remedy=remedy,
        )


def _held_out_before(
    path: Path,
) -> tuple[npt.NDArray[np.str_], dict[str, npt.NDArray[np.str_]]]:
    """Return the users of a run and the items that were held out of them, by part."""
    file = path / RANKS_FILE
    columns = {"valid": "valid_item_id", "test": "test_item_id"}
    try:
        data = read_bounded(file, StoreIntegrityError, _LARGEST)
        table = pq.read_table(pa.BufferReader(data), columns=["user_id", *columns.values()])
    except FileNotFoundError:
        raise UsageError(
            f"{path}: expected what was held out of every user in {RANKS_FILE}, found none",
        ) from None
    except (pa.ArrowException, OSError, KeyError) as error:
        raise StoreIntegrityError(f"{file}: expected the items held out: {error}") from None
    texts = {name: np.array(table.column(name).to_pylist(), np.str_) for name in table.column_names}
    return texts["user_id"], {part: texts[name] for part, name in columns.items()}


def _without_their_last(
    everything: KeptSequences,
    users: npt.NDArray[np.str_],
    items: dict[str, npt.NDArray[np.str_]],
) -> npt.NDArray[np.str_]:
    """Return the users that lack the validation item of before, or the test item after it.

    Users who are not among the kept ones have nothing held out, and lack nothing.
    """
    is_kept = np.isin(users, everything.user_ids)
    rows = np.searchsorted(everything.user_ids, users[is_kept])
    before = {part: np.full(len(everything.user_ids), -1) for part in items}
    for part, ids in items.items():
        places = np.searchsorted(everything.item_ids, ids[is_kept])
        places = places.clip(max=len(everything.item_ids) - 1)
        is_known = everything.item_ids[places] == ids[is_kept]
        before[part][rows] = np.where(is_known, places, -1)
    owners = np.repeat(np.arange(len(everything.user_ids)), np.diff(everything.offsets))
    tests = _last_places(everything, owners, before["test"], np.full(len(owners), True))
    is_before = np.arange(len(owners)) < tests[owners]
    valids = _last_places(everything, owners, before["valid"], is_before)
    return users[is_kept][(tests[rows] < 0) | (valids[rows] < 0)]


def _last_places(
    everything: KeptSequences,
    owners: npt.NDArray[np.int64],
    items: npt.NDArray[np.int64],
    is_looked_at: npt.NDArray[np.bool_],
) -> npt.NDArray[np.int64]:
    """Return where each user had an item last, ``(users,)``, -1 for nowhere."""
    last = np.full(len(items), -1)
    places = np.flatnonzero((everything.items == items[owners]) & is_looked_at)
    np.maximum.at(last, owners[places], places)
    return last
