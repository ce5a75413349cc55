"""What the end of an attempt means for its run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from crossan.cache_schema.errors import CrossanError
from crossan.train.service.executors import Outcome
from crossan.train.service.queue.reasons import describe, describe_attempt
from crossan.train.service.queue.retrying import is_final
from crossan.train.service.queue.rows import RunRow, State
from crossan.train.service.queue.steps import Conclusion, Steps

__all__ = ["conclude_in_server", "conclude_program"]

_logger = logging.getLogger(__name__)


def conclude_in_server(
    run: RunRow, outcome: Outcome, result: Mapping[str, Any] | None, *, may_repeat: bool
) -> Conclusion | None:
    """Return how a run ended that a thread of the server did, None where it is to be tried again.

    Parameters
    ----------
    run
        The run, with the number of the attempt that ended.
    outcome
        How that attempt ended.
    result
        What the step returned.
    may_repeat
        Whether it may have another attempt.
    """
    if outcome.exit_code == 0:
        return Conclusion(State.SUCCEEDED, result=result)
    if not is_final(outcome) and may_repeat:
        return None
    return Conclusion(State.FAILED, outcome.message or describe(outcome, run.limits))


def conclude_program(
    steps: Steps, run: RunRow, outcome: Outcome, *, may_repeat: bool
) -> Conclusion | None:
    """Return how a run of a program ended, None where it is to be tried again.

    No client has cancelled it: an attempt that was told to end all the same was told so by the
    system, as when the machine shuts down, and is tried again.

    Parameters
    ----------
    steps
        Knows what the step has left.
    run, outcome, may_repeat
        As for `conclude_in_server`.
    """
    if outcome.reason == "exited" and is_final(outcome):
        return _conclude_step(steps, run, outcome)
    if outcome.reason == "too long":
        return Conclusion(State.FAILED, f"it {describe(outcome, run.limits)}")
    if may_repeat:
        return None
    return Conclusion(State.FAILED, describe_attempt(outcome, run))


def _conclude_step(steps: Steps, run: RunRow, outcome: Outcome) -> Conclusion:
    try:
        return steps.conclude(run, outcome)
    except CrossanError as error:
        return Conclusion(State.FAILED, str(error))
    except Exception as error:  # a bug in one conclusion must not stop the queue
        _logger.exception("the end of run %d was not understood", run.id)
        return Conclusion(State.FAILED, f"internal error: {type(error).__name__}: {error}")
