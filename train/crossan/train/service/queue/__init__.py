"""Runs that wait, run and have ended, the slots they share, and the attempts at each."""

from crossan.train.service.queue.rows import ENDED, Order, RunRow, State, Step
from crossan.train.service.queue.scheduler import Counts, Scheduler
from crossan.train.service.queue.slots import Slots, Usage

__all__ = [
    "ENDED",
    "Counts",
    "Order",
    "RunRow",
    "Scheduler",
    "Slots",
    "State",
    "Step",
    "Usage",
]
