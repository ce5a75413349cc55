"""Training in this process, stopped at a step by a signal or as by a kill."""

from __future__ import annotations

import os

from crossan.train.loop import trainer


def signal_at_step(monkeypatch, number, at):
    """Send this process a signal while it takes the given step of the run."""
    real_step, taken = trainer._Training._take_step, []

    def take(self, users):
        taken.append(None)
        if len(taken) == at:
            os.kill(os.getpid(), number)
        return real_step(self, users)

    monkeypatch.setattr(trainer._Training, "_take_step", take)
    return taken


class Died(BaseException):
    """Stands for SIGKILL: no checkpoint is written after it."""


def die_at_step(monkeypatch, at):
    def take(self, users, real=trainer._Training._take_step, left=[at]):  # noqa: B006 - the count is meant to live on
        left[0] -= 1
        if left[0] == 0:
            raise Died
        return real(self, users)

    monkeypatch.setattr(trainer._Training, "_take_step", take)
