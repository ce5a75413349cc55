"""``crossan-train`` that stops before a step: ``held_training.py GATE STEP ARGUMENTS``.

Before the step with this number, counted from 1, it writes the file ``GATE.RANK`` and waits until
the file ``GATE`` is there, or SIGTERM has come.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

from crossan.train.cli import main
from crossan.train.runs import training


def wait_for(gate):
    """Wait until the file is there, or until this process was told to end."""
    handle, heard = signal.getsignal(signal.SIGTERM), []

    def hear(number, frame):
        heard.append(number)
        handle(number, frame)

    signal.signal(signal.SIGTERM, hear)
    gate.with_name(f"{gate.name}.{os.environ.get('RANK', 0)}").touch()
    while not heard and not gate.exists():
        time.sleep(0.01)
    signal.signal(signal.SIGTERM, handle)


def hold(gate, step):
    """Have the training of this process stop before a step."""
    taken = []

    def before_step():
        taken.append(None)
        if len(taken) == step:
            wait_for(gate)

    training.fit = partial(training.fit, on_step=before_step)


if __name__ == "__main__":
    _, gate, step, *arguments = sys.argv
    sys.argv = ["crossan-train", *arguments]
    hold(Path(gate), int(step))
    sys.exit(main())
