"""A service whose trainings write an epoch whenever a test lets them, served by a process of its own.

``python -m support.dashboard_service FOLDER`` serves one, as ``support.service`` does.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

from crossan.train.service.folder import ServiceFolder
from crossan.train.service.queue.rows import State
from crossan.train.service.queue.steps import Conclusion, Program
from support.service import ServerProcess, TinySteps, serve

_EPOCHS = 12
_SCRIPT = """
mkdir -p {folder}
for n in $(seq {epochs}); do
  until [ -e {folder}/go-$n ]; do sleep 0.02; done
  echo "{{\\"epoch\\": $n, \\"loss\\": $((9 - n / 2)).$n, \\"valid\\": {{\\"ndcg@10\\": 0.0$((10 + n)), \\"hr@10\\": 0.1$n}}, \\"is_best\\": true}}" >> {folder}/metrics.jsonl
  echo "epoch $n: loss $((9 - n / 2)).$n"
done
"""


class LearningSteps(TinySteps):
    """Trains where the label of a run says ``learn``, an epoch for each file ``go-N`` of its folder."""

    def __init__(self, data):
        self._folder = ServiceFolder(data)

    def plan(self, run):
        if not run.label.startswith("learn"):
            return super().plan(run)
        folder = shlex.quote(str(self._folder.output(run.id)))
        return Program(("/bin/bash", "-c", _SCRIPT.format(folder=folder, epochs=_EPOCHS)))

    def conclude(self, run, outcome):
        conclusion = super().conclude(run, outcome)
        if conclusion.state is not State.SUCCEEDED:
            return conclusion
        test = {"ndcg@10": 0.0641, "hr@10": 0.1178}
        return Conclusion(State.SUCCEEDED, result={"model": "popularity", "test": test})


class DashboardServer(ServerProcess):
    """A server whose runs learn as a test lets them."""

    module = "support.dashboard_service"

    def let_learn(self, run_id, epoch):
        """Let a run end one more epoch."""
        folder = ServiceFolder(self.data).output(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"go-{epoch}").touch()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    serve(folder, json.loads(sys.argv[2]), LearningSteps(folder / "service"))
