"""Which ends of an attempt are worth another one."""

from __future__ import annotations

from crossan.train.service.executors import Outcome

__all__ = ["MOST_ATTEMPTS", "is_final", "may_try_again"]

MOST_ATTEMPTS = 3
"""Attempts at a run in which a program began, all together."""
_MOST_NUMBERS = 20
"""Attempts at a run, with those that a server died of before a program began."""
_FINAL_CODES = frozenset({0, 1, 2, 3, 4, 5})
"""Exit codes that another attempt would give again: what our commands promise of them."""


def is_final(outcome: Outcome) -> bool:
    """Return whether another attempt would end the same.

    A process that was killed, hung, ran out of memory or lost its machine is worth another, and so
    is one that met a full disk, a busy folder or a remote that did not answer. One that used up its
    time is not: it would again.
    """
    if outcome.reason in {"cancelled", "too long"}:
        return True
    return outcome.reason == "exited" and outcome.exit_code in _FINAL_CODES


def may_try_again(number: int, begun: int) -> bool:
    """Return whether a run may have another attempt.

    Parameters
    ----------
    number
        Of the latest attempt, from 1.
    begun
        Attempts in which a program began.
    """
    return begun < MOST_ATTEMPTS and number < _MOST_NUMBERS
