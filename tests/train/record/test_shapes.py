"""The shapes of a run's files take what our code writes."""

from dataclasses import asdict

import torch

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.common.foreign import require_shape
from crossan.train.loop.progress import TrainingProgress
from crossan.train.record.shapes import Environment, Progress
from crossan.train.record.spec import current_spec, provenance
from crossan.train.record.sweep_shapes import Compared
from crossan.train.runs.contents import Verdict


def test_what_is_written_fits():
    verdict = Verdict(compared=3, stale=1, not_here=0, unrecorded=0, first="v1", is_foreign=False)
    spec = current_spec(torch.device("cpu"), torch.float32)
    for written, shape in (
        ({"dataset": "d", "items": "i", "stores": {"m": asdict(verdict)}}, Compared),
        ({"spec": spec, **provenance(), "earlier": [spec], "folder": "/r"}, Environment),
        (asdict(TrainingProgress()), Progress),
    ):
        assert require_shape(written, shape, "file", StoreIntegrityError)
