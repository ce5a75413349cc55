"""Starting a run from the weights of an earlier one, as ``crossan-train --init RUN`` does.

The data may have changed since. Nothing in the model belongs to a user, and what
belongs to an item (``model.id_embedding``) follows its item id, so new users and
items are no obstacle. The meaning of the weights is fixed by the stores'
fingerprints, the kept layers and the shape of the model, which must be the same.
The optimiser, the popularity of items and the count of epochs start afresh.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from torch import nn

from crossan.cache_schema.errors import IncompatibleError, UsageError
from crossan.train.models.recommender import item_rows_of
from crossan.train.record.catalogue_lock import carry_item_rows, read_catalogue
from crossan.train.record.checkpoint import load_weights
from crossan.train.record.refits import is_refit, judged_run, words_of
from crossan.train.record.run_folder import RunFolder
from crossan.train.settings import RunSettings
from crossan.train.settings.meaning import differing_facts

__all__ = ["load_initial_weights", "require_carried_over"]


def require_carried_over(
    settings: RunSettings, stores: Mapping[str, Mapping[str, Any]], init: Path
) -> None:
    """Make sure that the weights of an earlier run mean the same in the new one.

    Parameters
    ----------
    settings
        Those of the new run.
    stores
        Its stores as `RunFolder.lock` gives them, under ``"stores"``.
    init
        Folder of the earlier run.

    Raises
    ------
    IncompatibleError
        Something that gives the weights their meaning differs. All of it is
        named.
    UsageError
        There is no run in that folder, or it is a refit and the new one is a run that will be
        judged.
    """
    folder = RunFolder(init)
    theirs = folder.settings()
    if is_refit(theirs) and not is_refit(settings):
        _refuse_refit(init, theirs)
    differing = differing_facts(theirs, folder.lock()["stores"], settings, stores)
    if differing:
        listed = "\n  ".join(differing)
        raise IncompatibleError(
            f"--init {init}: its weights cannot be carried over\n  {listed}",
            remedy="Make these the same, or leave --init out:"
            " training then begins with random weights",
        )


def _refuse_refit(init: Path, theirs: RunSettings) -> NoReturn:
    # Most users do nothing between two trainings: what is held out of theirs now was held out
    # then, and the refit has learned it. Nothing that it recorded could show the contrary.
    raise UsageError(
        f"--init {init}: it is a refit, trained on {words_of(theirs)}; a run that began from it"
        " would be judged by what it has already learned",
        remedy=f"Begin from the run that judged it: --init {shlex.quote(str(judged_run(init)))};"
        f" a refit may begin from it: --refit-init {shlex.quote(str(init))}",
    )


def load_initial_weights(
    model: nn.Module, init: Path, run: RunFolder, item_ids: np.ndarray
) -> None:
    """Put the best weights of an earlier run into a model, and record them in ``init.json``.

    Parameters
    ----------
    model
        The model that receives them. It keeps the learned vectors of items that
        the earlier run did not have.
    init
        Folder of the earlier run.
    run
        Folder of the new run.
    item_ids
        Catalogue of the new run, ``(items,)``.

    Raises
    ------
    IncompatibleError
        The new run was started from other weights than ``init`` holds now, or
        they do not fit.
    UsageError, StoreIntegrityError
        The weights are missing or damaged.
    """
    best = RunFolder(init).best_checkpoint()
    epoch, sha256 = best.state.get("epoch"), best.sha256["model.safetensors"]
    facts = {"run": str(init), "epoch": epoch, "sha256": sha256}
    # A new run that was interrupted comes here again, before its first checkpoint: meanwhile the
    # earlier run may have trained on.
    recorded = run.initial()
    if recorded is not None and recorded["sha256"] != sha256:
        raise IncompatibleError(
            f"--init {init}: this run was begun from the weights {recorded['sha256'][:12]}"
            f" of epoch {recorded['epoch']},"
            f" found {sha256[:12]} of epoch {epoch}",
            remedy=f"Begin another run with another --out than {run.path}",
        )
    weights = best.tensors["model"]
    if rows := item_rows_of(model):
        initial = {name: model.state_dict()[name] for name in rows}
        weights = carry_item_rows(weights, read_catalogue(init), initial, item_ids)
    load_weights(model, weights, f"--init {init}")
    run.write_initial(facts)
