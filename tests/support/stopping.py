"""Training in this process, stopped at a step by a signal or as by a kill."""

from __future__ import annotations

import os
from functools import partial

from crossan.train.loop.trainer import fit
from crossan.train.runs import training


def before_steps(monkeypatch, call):
    """Have trainings in this process call a function before every step."""
    monkeypatch.setattr(training, "fit", partial(fit, on_step=call))


def at_step(number, call):
    """Return a function that makes the call the given time it is called itself, counted from 1."""
    left = [number]

    def count_down():
        left[0] -= 1
        if left[0] == 0:
            call()

    return count_down


def signal_at_step(monkeypatch, number, at):
    """Send this process a signal before it takes the given step; return a list that counts steps."""
    taken, send = [], at_step(at, lambda: os.kill(os.getpid(), number))
    before_steps(monkeypatch, lambda: (taken.append(None), send()))
    return taken


class Died(BaseException):
    """Stands for SIGKILL: no checkpoint is written after it."""


def die_at_step(monkeypatch, at):
    """End training before it takes the given step, as a kill would."""

    def die():
        raise Died

    before_steps(monkeypatch, at_step(at, die))
