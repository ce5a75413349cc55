"""Runs that wait, run and have ended, the slots they share, and the attempts at each."""

from crossan.train.service.queue.rows import ENDED, Order, RunRow, State, Step

__all__ = ["ENDED", "Order", "RunRow", "State", "Step"]
