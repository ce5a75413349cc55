"""How a step ended, from what it wrote and printed."""

from __future__ import annotations

import json
from typing import Any

from crossan.train.service.executors import Outcome
from crossan.train.service.folder import ServiceFolder
from crossan.train.service.nights.results import (
    figures_of,
    gate_result,
    printed_json,
    refit_of,
    update_result,
)
from crossan.train.service.nights.summaries import HELD_BACK
from crossan.train.service.nights.training_plan import kept_plan
from crossan.train.service.queue.rows import RunRow, State, Step
from crossan.train.service.queue.steps import Conclusion

__all__ = ["conclusion_of"]

_STORE = (
    "modality",
    "fingerprint",
    "version",
    "ok",
    "absent",
    "missing",
    "quarantined",
    "forwarded",
    "replaced",
)


def conclusion_of(run: RunRow, outcome: Outcome, folder: ServiceFolder) -> Conclusion:
    """Return how a step ended that a program did: with exit code 0, or a gate with any.

    Parameters
    ----------
    run, outcome
        The step, and how its last attempt ended.
    folder
        The data folder, in which it left its files.

    Raises
    ------
    StoreIntegrityError
        It left no result.
    """
    log = folder.attempt(run.id, run.attempt) / "output.log"
    match run.step:
        case Step.UPDATE:
            return _update(run, folder, printed_json(log) or {})
        case Step.EXTRACT:
            printed = printed_json(log, lambda value: "stores" in value) or {}
            return Conclusion(State.SUCCEEDED, result=_stores(printed))
        case Step.TRAIN:
            return _training(run, folder)
        case Step.EVALUATE:
            compared = json.loads((folder.run(run.id) / "compared.json").read_bytes())
            figures = figures_of(folder.output(run.id))
            return Conclusion(State.SUCCEEDED, result={"of": compared, **figures})
        case Step.GATE:
            return _gate(outcome, printed_json(log, lambda value: "holds" in value))
        case Step.REFIT:
            assert run.about is not None
            return Conclusion(State.SUCCEEDED, result=refit_of(folder.output(run.about)))
        case Step.PROMOTE:
            raise AssertionError("no program promotes")


def _update(run: RunRow, folder: ServiceFolder, printed: dict[str, Any]) -> Conclusion:
    result = update_result(printed)
    read = json.loads((folder.run(run.id) / "inbox.json").read_bytes())
    is_new = any(result["added"].values())
    reason = "" if is_new else "the dataset had it all"
    return Conclusion(State.SUCCEEDED, reason, {**result, **read})


def _stores(printed: dict[str, Any]) -> dict[str, Any]:
    """Return what an extraction did for each store, without what says how."""
    stores = printed.get("stores", [])
    return {"stores": [{name: one[name] for name in _STORE if name in one} for one in stores]}


def _training(run: RunRow, folder: ServiceFolder) -> Conclusion:
    output = folder.output(run.id)
    result = figures_of(output)
    plan = kept_plan(folder.run(run.id))
    assert plan is not None
    result |= plan.notes
    if run.night_id is None and run.spec.get("refit", "none") != "none":
        result["refit"] = refit_of(output)
    return Conclusion(State.SUCCEEDED, str(plan.notes.get("init_note", "")), result)


def _gate(outcome: Outcome, verdict: dict[str, Any] | None) -> Conclusion:
    if verdict is None or outcome.exit_code not in {0, 1}:
        return Conclusion(State.FAILED, outcome.message or f"exit code {outcome.exit_code}")
    result = gate_result(verdict)
    if verdict["holds"]:
        return Conclusion(State.SUCCEEDED, result=result)
    why = "; ".join(verdict["reasons"])
    return Conclusion(State.FAILED, f"held back: {why}", {**result, HELD_BACK: why})
