"""``crossan-train``, ``crossan train-end``, ``evaluate``, ``recommend``, ``analyse`` and ``export``.

What belongs here: one module per command, which reads its options, calls one
function of `crossan.train.runs` and prints what that returns.
"""

from crossan.train.cli.analysing import analyse
from crossan.train.cli.ending import train_end
from crossan.train.cli.evaluating import evaluate
from crossan.train.cli.exporting import export
from crossan.train.cli.recommending import recommend
from crossan.train.cli.training import main, train

__all__ = ["analyse", "evaluate", "export", "main", "recommend", "train", "train_end"]
