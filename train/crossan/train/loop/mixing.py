"""A run that is made of finished runs.

No step is taken, and the run folder is like any other. The weights of the runs are
copied into its checkpoint, so it needs their folders never again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossan.cache_schema.errors import IncompatibleError, UsageError
from crossan.common.split import TrainedOn
from crossan.train.evaluation.encoding import encode_items, target_ranks
from crossan.train.evaluation.held_out import validation_figures
from crossan.train.evaluation.hybrid import hybrid_ranker_maker
from crossan.train.evaluation.hybrid_candidates import HybridTerms
from crossan.train.loop.content_directions import fit_content
from crossan.train.loop.hybrid_choice import choose_weights
from crossan.train.loop.progress import TrainingProgress
from crossan.train.loop.saying import times
from crossan.train.loop.trainable import RefitRun, TrainableRun
from crossan.train.models.hybrid_of_runs import HybridOfRuns
from crossan.train.record.checkpoint import BEST, Checkpoint, load_weights
from crossan.train.record.reading import RESULT_FILE
from crossan.train.record.refits import judged_run, read_refit_result, refit_folder
from crossan.train.record.run_folder import RunFolder
from crossan.train.sequences.popularity import training_counts
from crossan.train.sequences.splits import validation_split
from crossan.train.settings import BaseRunSettings, HybridOfRunsSettings

__all__ = ["is_mixed", "mix"]


def is_mixed(folder: RunFolder) -> bool:
    """Whether the hybrid in a folder has its weights, and needs its runs no more."""
    return (folder.path / "checkpoints" / BEST).is_dir()


def mix(run: TrainableRun | RefitRun) -> TrainingProgress:
    """Write the weights of the runs and of the terms as those of epoch 1.

    Of a run that is resumed the weights stay as they are. A refit takes the refits of
    the runs, and the terms as they were chosen for the run that judges it.

    Raises
    ------
    IncompatibleError
        The weights of a run are other ones than when it was named.
    UsageError
        A run has no such refit.
    """
    state = dict(run.folder.best_checkpoint().state) if is_mixed(run.folder) else _made(run)
    judged: dict[str, Any] = {n: state[n] for n in ("valid", "cold_valid") if n in state}
    line = {"epoch": 1, "loss": None, **judged, "is_best": True}
    line |= {"mixture": state["mixture"], **state["times"]}
    run.folder.write_metrics([line])
    return TrainingProgress(
        epoch=1,
        best_epoch=1,
        best_hr=-1.0 if state["hr@10"] is None else state["hr@10"],
        seconds=state["times"]["seconds"],
        seconds_before=state["times"]["seconds"],
        metrics=[line],
    )


def _made(run: TrainableRun | RefitRun) -> dict[str, Any]:
    """Make the weights, write them, and return the state beside them."""
    model, start = run.model, time.monotonic()
    assert isinstance(model, HybridOfRuns)  # by its settings
    settings = run.settings.model
    assert isinstance(settings, HybridOfRunsSettings)
    run.folder.forget_figures()
    for base, of_base in zip(model.base_models(), settings.of, strict=True):
        load_weights(base, _weights_of(of_base, run), of_base.run)
    if isinstance(run, RefitRun):
        mixture = _take_terms(model, run)
        judged: dict[str, Any] = {"valid": None}
    else:
        mixture, judged = _choose_terms(model, settings, run)
    weights = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    measured = times(time.monotonic() - start)
    hit_ratio = None if judged["valid"] is None else judged["valid"]["hr@10"]
    state = {"epoch": 1, "hr@10": hit_ratio, **judged, "mixture": mixture, "times": measured}
    run.folder.save_checkpoint(BEST, Checkpoint({"model": weights}, state))
    return state


def _choose_terms(
    model: HybridOfRuns, settings: HybridOfRunsSettings, run: TrainableRun
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure the content, choose what the terms count, and return the record and the figures."""
    if model.content is not None:
        fit_content(model.content, run.features)
    item_vectors = encode_items(model, run.features)
    split = validation_split(run.seen, run.settings.data.input_length)
    counts = training_counts(run.seen.training_items, len(run.seen.item_ids))
    choice = choose_weights(
        HybridTerms(model, item_vectors, split, run.settings.mask_history),
        split,
        counts,
        run.settings.select_by,
        settings.cold_loss,
        has_content=model.content is not None,
    )
    model.take_weights(choice.weights)
    with torch.inference_mode():  # as they were made
        lengths = model.content_lengths(item_vectors)
        model.parts_of(item_vectors).content.mul_(lengths.unsqueeze(1))
    ranker = hybrid_ranker_maker(model, item_vectors)(split)
    ranks = target_ranks(ranker, split, run.settings.mask_history)
    return choice.facts, validation_figures(ranks, split, counts)


def _take_terms(model: HybridOfRuns, run: RefitRun) -> dict[str, Any]:
    """Take the terms of the run that judges a refit, and return its record of them."""
    judged = RunFolder(judged_run(run.folder.path)).best_checkpoint()
    recorded = judged.tensors["model"]
    of_terms = [name for name in model.state_dict() if name.startswith(("term_w", "content."))]
    missing = model.load_state_dict({name: recorded[name] for name in of_terms}, strict=False)
    assert not missing.unexpected_keys
    return dict(judged.state["mixture"])


def _weights_of(base: BaseRunSettings, run: TrainableRun | RefitRun) -> Mapping[str, Tensor]:
    """Return the weights of a run, or those of its refit where a hybrid is refitted."""
    path = Path(base.run)
    if isinstance(run, RefitRun):
        return _weights_of_refit(path, base.sha256, run.settings.refit)
    best = RunFolder(path).best_checkpoint()
    digest = best.sha256["model.safetensors"]
    if digest != base.sha256:
        raise IncompatibleError(
            f"{path}: expected the weights {base.sha256[:12]}, found {digest[:12]}: the run has"
            " gone on since it was named",
            remedy=f"Make another: crossan-train --model hybrid --of {path} --out FOLDER",
        )
    return best.tensors["model"]


def _weights_of_refit(path: Path, judged: str, scope: TrainedOn) -> Mapping[str, Tensor]:
    """Return the weights of the refit of a run, by what was held out and the run's weights."""
    refitted = refit_folder(path)
    result = read_refit_result(refitted / RESULT_FILE)
    refit = {} if result is None else result["refit"]
    if refit.get("trained_on") != scope or refit["judged"]["sha256"] != judged:
        raise UsageError(
            f"{refitted}: expected a finished refit of --refit {scope} of the same weights, as"
            " every run of a hybrid that is refitted has, found none",
            remedy=f"Refit it first: crossan-train --out {path} --resume --refit {scope}",
        )
    return RunFolder(refitted).best_checkpoint().tensors["model"]
