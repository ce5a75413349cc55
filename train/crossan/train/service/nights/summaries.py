"""What a night did, as a state and as one line for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from crossan.train.service.nights.rows import NightState
from crossan.train.service.queue.rows import RunRow, State, Step

__all__ = ["HELD_BACK", "state_of", "summary_of"]

HELD_BACK = "held_back"
"""Key in the result of a gate or a promotion: why the model does not take its place."""


def state_of(runs: Sequence[RunRow]) -> NightState:
    """Return how a night ended whose runs have all ended."""
    states = {run.state for run in runs}
    if State.CANCELLED in states:
        return NightState.CANCELLED
    if _held_back(runs) is not None:
        return NightState.HELD_BACK
    if State.FAILED in states:
        return NightState.FAILED
    promotion = _result(runs, Step.PROMOTE)
    return NightState.PROMOTED if "version" in promotion else NightState.NOTHING


def summary_of(state: NightState, runs: Sequence[RunRow], seconds: float) -> str:
    """Return what a night did.

    Parameters
    ----------
    state
        How it ended.
    runs
        Its runs, the first one first.
    seconds
        How long it took.
    """
    lasted = _lasted(seconds)
    if state is NightState.PROMOTED:
        version = _result(runs, Step.PROMOTE)["version"]
        return f"promoted model {version}: {_joined([*_figures(runs), *_gains(runs), lasted])}"
    if state is NightState.HELD_BACK:
        return f"held back: {_joined([_held_back(runs) or '', *_figures(runs), lasted])}"
    if state is NightState.NOTHING:
        reasons = (run.reason for run in runs if run.step is Step.TRAIN and run.reason)
        return next(reasons, "nothing new")
    ends = {NightState.FAILED: State.FAILED, NightState.CANCELLED: State.CANCELLED}
    guilty = next(run for run in runs if run.state is ends[state])
    first_line = (guilty.reason or "no reason was recorded").partition("\n")[0]
    return f"{guilty.step} {state}: {first_line} (run {guilty.id}, {lasted})"


def _held_back(runs: Iterable[RunRow]) -> str | None:
    for run in runs:
        reason = (run.result or {}).get(HELD_BACK)
        if reason is not None:
            return str(reason)
    return None


def _figures(runs: Iterable[RunRow]) -> list[str]:
    """Return the figures of a night in words, as the commands and the pages have them."""
    gate = _result(runs, Step.GATE).get("all")
    if isinstance(gate, Mapping):
        low, high = gate["interval"]
        moved = f"{gate['production']:.4f} -> {gate['candidate']:.4f}"
        return [f"NDCG@10 {moved} ({gate['difference']:+.4f}, [{low:.4f}, {high:.4f}])"]
    test = _result(runs, Step.TRAIN).get("test")
    return [f"NDCG@10 {test['ndcg@10']:.4f}"] if isinstance(test, Mapping) else []


def _gains(runs: Iterable[RunRow]) -> list[str]:
    added = _result(runs, Step.UPDATE).get("added")
    if not isinstance(added, Mapping):
        return []
    words = {"items": "new items", "interactions": "interactions"}
    return [f"{added[name]:,} {text}" for name, text in words.items() if added.get(name)]


def _result(runs: Iterable[RunRow], step: Step) -> Mapping[str, Any]:
    return next((run.result for run in runs if run.step is step and run.result), {})


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(filter(None, parts))


def _lasted(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
