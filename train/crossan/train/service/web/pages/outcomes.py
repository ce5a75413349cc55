"""What each step of a night came to, in a few words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crossan.train.service.queue.rows import RunRow, Step
from crossan.train.service.web.pages.figures import ndcg_of
from crossan.train.service.web.pages.words import figure

__all__ = ["outcome_of"]


def outcome_of(run: RunRow) -> str:
    """Return what a step came to, empty where it has no result or one without figures."""
    words = _WORDS.get(run.step)
    return "" if words is None or not run.result else words(run.result)


def _gained(result: Mapping[str, Any]) -> str:
    added = result.get("added")
    if not isinstance(added, Mapping):
        return ""
    parts = [
        f"+{figure(added[name])} {name}" for name in ("items", "interactions") if name in added
    ]
    return ", ".join(parts)


def _extracted(result: Mapping[str, Any]) -> str:
    stores = [one for one in result.get("stores", ()) if isinstance(one, Mapping)]
    items = sum(one.get("forwarded", 0) for one in stores)
    faults = sum(one.get("missing", 0) + one.get("quarantined", 0) for one in stores)
    computed = f"{items:,} {'item' if items == 1 else 'items'} extracted"
    return f"{computed}, {faults:,} not readable" if faults else computed


def _measured(result: Mapping[str, Any]) -> str:
    value, cold = (ndcg_of(result, part) for part in ("test", "cold_test"))
    if value is None:
        return ""
    return f"NDCG@10 {figure(value)}" + ("" if cold is None else f", cold {figure(cold)}")


def _measured_before(result: Mapping[str, Any]) -> str:
    words = _measured(result)
    return f"production: {words}" if words else ""


def _judged(result: Mapping[str, Any]) -> str:
    if "holds" not in result:
        return ""
    difference = (result.get("all") or {}).get("difference")
    shift = "" if difference is None else f", {difference:+.4f}".replace("-", "\N{MINUS SIGN}")
    return f"{'holds' if result['holds'] else 'holds it back'}{shift}"


def _refitted(result: Mapping[str, Any]) -> str:
    count = result.get("interactions")
    return "" if count is None else f"on {figure(count)} interactions"


def _promoted(result: Mapping[str, Any]) -> str:
    version = result.get("version")
    return "" if version is None else f"{result.get('alias', 'alias')}: model {version}"


_WORDS: Mapping[Step, Callable[[Mapping[str, Any]], str]] = {
    Step.UPDATE: _gained,
    Step.EXTRACT: _extracted,
    Step.TRAIN: _measured,
    Step.EVALUATE: _measured_before,
    Step.GATE: _judged,
    Step.REFIT: _refitted,
    Step.PROMOTE: _promoted,
}
