"""What training minimises, by name (``objective.kind``): where the negatives of a prediction come from.

What belongs here chooses columns for the cross entropy of `crossan.train.objectives.loss`
and remembers what that takes from step to step; no arithmetic of a loss.
"""

from crossan.train.objectives.objective import Gathers, Objective, gathers_of, make_objective

__all__ = ["Gathers", "Objective", "gathers_of", "make_objective"]
