"""When a trigger begins a night, in words."""

from __future__ import annotations

from crossan.train.service.specs import TriggerSpec

__all__ = ["rule_of"]


def rule_of(spec: TriggerSpec) -> str:
    """Return when a trigger begins a night, as the beginning of a sentence."""
    if spec.kind == "cron":
        return f"At {spec.cron} ({spec.timezone})"
    if spec.kind == "store":
        return f"A new version of {f'the {spec.modality}' if spec.modality else 'any'} store"
    return f"The log growing by {spec.grown_by or 0:,} interactions"
