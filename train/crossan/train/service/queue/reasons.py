"""Why an attempt ended, in words."""

from __future__ import annotations

import signal

from crossan.train.service.executors import Outcome
from crossan.train.service.queue.rows import RunRow
from crossan.train.service.specs import Limits

__all__ = ["describe", "describe_attempt"]


def describe_attempt(outcome: Outcome, run: RunRow) -> str:
    """Return why the latest attempt at a run ended, with the error that it told."""
    text = f"attempt {run.attempt} {describe(outcome, run.limits)}"
    return f"{text}\n{outcome.message}" if outcome.message else text


def describe(outcome: Outcome, limits: Limits) -> str:
    """Return what ended an attempt, as the rest of a sentence."""
    if not outcome.has_begun:
        return "never began, as the server ended"
    if outcome.reason == "exited":
        return _exit(outcome.exit_code)
    return {
        "cancelled": "was told to end from outside the service",
        "too long": f"ran longer than limits.hours={limits.hours:g}",
        "too much memory": (
            f"held {outcome.peak_memory_bytes / 2**30:.2f} GiB, more than"
            f" limits.memory_gib={limits.memory_gib:g}"
        ),
        "silent": f"gave no sign of life for limits.silent_minutes={limits.silent_minutes:g}",
        "lost": "was lost: its processes were killed, or its machine stopped",
    }[outcome.reason]


def _exit(code: int | None) -> str:
    if code is None:
        return "ended, and nobody saw how"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
