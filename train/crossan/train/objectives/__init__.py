"""What training minimises, by name (``objective.kind``).

What belongs here chooses where the negatives of a prediction come from, as columns
for the cross entropy of `crossan.train.objectives.loss`, and remembers what that
takes from step to step.
"""

from crossan.train.objectives.objective import Objective, SequenceLoss, SequenceObjective
from crossan.train.objectives.own import BatchScores
from crossan.train.objectives.table import (
    Gathers,
    ObjectiveContext,
    ObjectiveEntry,
    gathers_of,
    make_objective,
)

__all__ = [
    "BatchScores",
    "Gathers",
    "Objective",
    "ObjectiveContext",
    "ObjectiveEntry",
    "SequenceLoss",
    "SequenceObjective",
    "gathers_of",
    "make_objective",
]
