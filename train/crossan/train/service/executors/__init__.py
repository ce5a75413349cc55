"""Where an attempt runs, and how the queue watches it."""

from crossan.train.service.executors.executor import Attempt, Executor, Job, Outcome, Sighting
from crossan.train.service.executors.local import LocalExecutor

__all__ = ["Attempt", "Executor", "Job", "LocalExecutor", "Outcome", "Sighting"]
