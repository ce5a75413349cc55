"""When a trigger begins a night, in words."""

from __future__ import annotations

import re

from crossan.train.service.specs import TriggerSpec

__all__ = ["rule_of"]

_DAILY = re.compile(r"(\d{1,2}) (\d{1,2}) \* \* (\*|1-5)")
_DAYS = {"*": "every day", "1-5": "Monday to Friday"}


def rule_of(spec: TriggerSpec) -> str:
    """Return when a trigger begins a night, as the end of a sentence that says so."""
    if spec.kind == "cron":
        return f"{_times(spec.cron or '')} ({spec.timezone})"
    if spec.kind == "store":
        return f"when {f'the {spec.modality}' if spec.modality else 'any'} store has a new version"
    return f"when there are {spec.grown_by or 0:,} more interactions"


def _times(cron: str) -> str:
    """Return the times of an expression, in words where it names one time of day."""
    daily = _DAILY.fullmatch(" ".join(cron.split()))
    if daily is None:
        return f"at {cron}"
    minute, hour, days = daily.groups()
    return f"{_DAYS[days]} at {int(hour):02d}:{int(minute):02d}"
