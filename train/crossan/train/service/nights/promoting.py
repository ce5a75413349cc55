"""The last step of a night: the new model becomes a version, and takes its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import BusyError
from crossan.train.service.nights.summaries import HELD_BACK
from crossan.train.service.queue.rows import RunRow
from crossan.train.service.registry import Registry

__all__ = ["Promotion", "promote"]


@dataclass(frozen=True, slots=True)
class Promotion:
    """What is promoted, and in whose place."""

    training: RunRow
    judged: Path
    """Run folder whose figures the version has."""
    served: Path | None
    """That of its refit, None where there is none."""
    alias: str
    actor: str
    compared: int
    """Version that the gate compared with, 0 where there was none to compare with."""
    revision: int
    """Revision of the alias when it was compared, 0 where it was never moved."""


def promote(registry: Registry, promotion: Promotion) -> Mapping[str, Any]:
    """Register a night's model and move the alias to it, if nobody has moved it meanwhile.

    Done again after a crash it ends the same.
    """
    model = registry.register(
        promotion.judged, promotion.served, promotion.training, promotion.actor
    )
    result: dict[str, Any] = {"model": model.version, "alias": promotion.alias}
    current = registry.alias(promotion.alias)
    if current is not None and current.version == model.version:
        return {**result, "version": model.version, "revision": current.revision}
    reason = {"night": promotion.training.night_id, "compared_with": promotion.compared}
    try:
        moved = registry.promote(
            promotion.alias, model.version, promotion.revision, promotion.actor, reason=reason
        )
    except BusyError:
        current = registry.alias(promotion.alias)
        now = "no model" if current is None else f"model {current.version}"
        compared = f"model {promotion.compared}" if promotion.compared else "nothing"
        why = (
            f"{promotion.alias} was moved to {now} while the night ran, and model"
            f" {model.version} was compared with {compared}"
        )
        return {**result, HELD_BACK: why}
    return {**result, "version": model.version, "revision": moved.revision}
