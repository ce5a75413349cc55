"""Training again on all that a run keeps, after the run has been judged without it.

What is judged is trained without its validation and test items. What is served may
then be trained on them, too, for the number of epochs that validation chose. It lies
in a folder inside the run's, and has no figures: those are the run's.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import IncompatibleError, UsageError
from crossan.common.devices import pick_device
from crossan.common.split import RefitScope
from crossan.train.loop.progress import Drop, TrainingProgress
from crossan.train.loop.trainable import RefitRun
from crossan.train.loop.trainer import refit
from crossan.train.loop.warm_start import require_carried_over
from crossan.train.record.dataset_lock import protocol_facts
from crossan.train.record.ending import is_end_requested
from crossan.train.record.following import run_folder_of
from crossan.train.record.refits import refit_folder
from crossan.train.record.run_folder import RunFolder
from crossan.train.record.statistics import read_statistics, statistics_digest
from crossan.train.runs.best_weights import best_weights
from crossan.train.runs.building import make_model
from crossan.train.runs.compute import settle_compute
from crossan.train.runs.contents import counts_of
from crossan.train.runs.facts import earlier_facts, training_facts
from crossan.train.runs.launch import Launch
from crossan.train.runs.opening import OpenedRun
from crossan.train.runs.planning import RunPlan, claim, hold
from crossan.train.runs.shortage import predicted, training_shortage_explained
from crossan.train.runs.training import curves_of
from crossan.train.sequences.refit import RefitSequences
from crossan.train.settings import RunSettings

__all__ = ["RefitRequest", "claim_or_hold", "finished_refit", "refit_run"]


@dataclass(frozen=True, slots=True)
class RefitRequest:
    """What a refit is to be, beside the settings of the run that judges it."""

    scope: RefitScope
    """The held-out items that it is trained on, too."""

    init: Path | None = None
    """Run whose best weights it begins from; None for where the judged run began, or, where a
    refit is continued, for where that began."""


@contextmanager
def claim_or_hold(plan: RunPlan[OpenedRun]) -> Iterator[dict[str, Any] | None]:
    """Hold the folder of a run that a refit follows, for the block.

    Yields
    ------
    dict or None
        The result of a run that has nothing left to train, whose folder stays as it is. None
        for one to be trained, whose folder is claimed as `claim` does.
    """
    run, launch = plan.run, plan.launch
    result = launch.ranks.from_first(lambda: _finished(run.folder, run.settings, launch))
    if result is None:
        with claim(plan):
            yield None
    else:
        with hold(plan):
            yield result


def finished_refit(
    settings: RunSettings, out: Path, launch: Launch, request: RefitRequest
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return the results of a run and of its refit where nothing is left to do.

    Parameters
    ----------
    settings, out, launch
        As for `crossan.train.runs.planning.plan_run`.
    request
        What the refit is to be.

    Raises
    ------
    UsageError
        The run in the folder has other settings, or its refit is another one.
    """
    folder, refitted = RunFolder(out), RunFolder(refit_folder(out))
    if not (launch.may_resume and folder.holds_run() and refitted.holds_run()):
        return None
    _require_same_scope(folder, refitted, request)
    settings = settle_compute(settings, folder, pick_device(launch.device), launch)
    judged, result = _finished(folder, settings, launch), refitted.result()
    if judged is None or result is None:
        return None
    folder.require_same(settings)
    recorded = result["refit"]
    epochs, _ = _path_to_best(judged)
    is_same = recorded["epochs"] == epochs and recorded["judged"] == _judged(folder)
    return (judged, result) if is_same else None


def refit_run(
    plan: RunPlan[OpenedRun], request: RefitRequest, judged: dict[str, Any]
) -> dict[str, Any]:
    """Refit a finished run and return the result of the refit, also in its ``result.json``.

    Of several ranks only the first has a result.

    Parameters
    ----------
    plan
        The run, whose folder is claimed or held.
    request
        What the refit is to be.
    judged
        The result of the run, which no rank but the first needs.

    Raises
    ------
    UsageError
        There is another refit of the run already.
    IncompatibleError
        The weights that it is to begin from cannot be carried over.
    CrossanError
        Training diverged, or a checkpoint is damaged.
    """
    ranks = plan.launch.ranks
    epochs, drop_after = ranks.from_first(lambda: _path_to_best(judged))
    planned = _planned(plan, request, epochs, tuple(drop_after))
    run = planned.run
    with claim(planned):
        initial = plan.run.folder.initial()
        if initial is not None and run.settings.init == plan.run.settings.init:
            run.folder.write_initial(initial)  # by which other weights than then are refused
        earlier = earlier_facts(run.folder)
        with curves_of(run, planned.launch) as curves:
            peak = predicted(run, planned.launch)
            with training_shortage_explained(run, planned.launch, peak):
                recorder = planned.launch.recorder_of(run.device)
                reached = refit(run, ranks, on_epoch=curves.update, recorder=recorder)
            if not ranks.is_first:
                return {}
            best_weights(run.folder, reached.best_epoch)
            result = _facts(plan, planned, request, reached)
            result |= training_facts(run, reached, earlier, peak)
            run.folder.write_result(result)
            curves.finish(result)
    return result


def _finished(folder: RunFolder, settings: RunSettings, launch: Launch) -> dict[str, Any] | None:
    """Return the result of a run that has nothing left to train, None for any other."""
    result = folder.result() if launch.may_resume and folder.holds_run() else None
    if result is None:
        return None
    is_over = not settings.model.is_trained_by_steps or _reached(result).is_over(settings)
    is_ended = result.get("stopped_by") == "ended" and is_end_requested(folder.path)
    return result if is_over or is_ended else None


def _reached(result: dict[str, Any]) -> TrainingProgress:
    """Return how far a finished run got."""
    drops: list[Drop] = result.get("drops", [])
    return TrainingProgress(epoch=result["epochs"], best_epoch=result["best_epoch"], drops=drops)


def _path_to_best(judged: dict[str, Any]) -> tuple[int, tuple[int, ...]]:
    """Return how many epochs lead to a run's best weights, and after which its rates dropped."""
    return _reached(judged).epochs_to(judged["best_epoch"])


def _planned(
    plan: RunPlan[OpenedRun], request: RefitRequest, epochs: int, drop_after: tuple[int, ...]
) -> RunPlan[RefitRun]:
    """Return the plan of a refit, which reads what the run has read, by the same statistics."""
    judged, launch = plan.run, plan.launch
    folder = run_folder_of(launch.ranks, refit_folder(judged.folder.path))
    if folder.holds_run():
        _require_same_scope(judged.folder, folder, request)
    init = _init(judged.settings, folder, request)
    changes: dict[str, Any] = {"refit": request.scope, "max_epochs": epochs, "init": init}
    if drop_after:  # nothing is validated that could show a plateau
        changes["optimiser"] = judged.settings.optimiser.model_copy(
            update={"drop_after": drop_after, "plateau_drops": 0, "drop_epochs": None}
        )
    settings = judged.settings.model_copy(update=changes)
    if init is not None and not folder.holds_run():
        require_carried_over(settings, plan.store_entries, Path(init))
        _require_same_statistics(plan, Path(init))
    seen = RefitSequences.of(judged.kept, request.scope)
    model = make_model(settings, judged.dataset, seen, judged.features)
    run = RefitRun(folder, settings, seen, judged.features, model)
    return RunPlan(
        run,
        replace(launch, may_resume=True),  # the folder is the run's own
        plan.spec,
        plan.stores,
        plan.store_entries,
        plan.sequence_facts,
        plan.item_ids,
        plan.verdicts,
        plan.statistics,
        plan.backbones,
    )


def _init(settings: RunSettings, folder: RunFolder, request: RefitRequest) -> str | None:
    """Return the run whose weights a refit begins from."""
    if request.init is None:
        return folder.settings().init if folder.holds_run() else settings.init
    kind = settings.model
    if not kind.is_trained_by_steps or kind.learns_from == "triples":
        raise UsageError(
            f"--refit-init {request.init}: expected none with --model {kind.kind}, which begins"
            " from no weights"
        )
    return str(request.init.absolute())


def _require_same_scope(run: RunFolder, refitted: RunFolder, request: RefitRequest) -> None:
    scope, folder = refitted.settings().refit, shlex.quote(str(run.path))
    if scope != request.scope:
        raise UsageError(
            f"--refit {request.scope}: {refitted.path} is a refit of --refit {scope}",
            remedy="Make the other one in another folder: crossan-train --config"
            f" {folder}/config.toml --out {folder}-2 --refit {request.scope}",
        )


def _require_same_statistics(plan: RunPlan[OpenedRun], init: Path) -> None:
    theirs = read_statistics(init) or {}
    if plan.statistics and statistics_digest(theirs) != statistics_digest(plan.statistics):
        raise IncompatibleError(
            f"--refit-init {init}: its layers were standardised by other statistics than those of"
            f" {plan.run.folder.path}",
            remedy="Begin the judged run from that one's judged run: crossan-train --init RUN",
        )


def _judged(folder: RunFolder) -> dict[str, Any]:
    """Return what says which weights the figures of a refit are of."""
    best = folder.best_checkpoint()
    sha256 = best.sha256["model.safetensors"]
    return {"run": "..", "epoch": best.state["epoch"], "sha256": sha256}


def _facts(
    plan: RunPlan[OpenedRun],
    planned: RunPlan[RefitRun],
    request: RefitRequest,
    reached: TrainingProgress,
) -> dict[str, Any]:
    """Return what ``result.json`` says of a refit beside what it cost."""
    run = planned.run
    return {
        "run": str(run.folder.path),
        "model": run.settings.model.kind,
        "refit": {
            "trained_on": request.scope,
            "epochs": reached.epoch,
            "judged": _judged(plan.run.folder),
        },
        "users": len(run.seen.user_ids),
        "items": len(run.seen.item_ids),
        "interactions": len(run.seen.items),
        **protocol_facts(plan.run.kept),
        "contents": counts_of(plan.verdicts),
    }
