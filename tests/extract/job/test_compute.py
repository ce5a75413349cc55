"""A device is kept fed: nothing that comes next waits for the forward before."""

import json
import threading

import numpy as np

from crossan.common.stores import open_store
from crossan.extract.backbones.launched import Launched
from crossan.extract.job.request import JobRequest
from crossan.extract.job.run import extract_modality
from support.started import CEILING_S

BATCHES, SIZE = 5, 3
CANARY = 1
"""Batches that are launched before those of the job."""


def _device(counting_encoder, seconds=0.25):
    """Return an encoder whose forwards end only once the next batch is on its way to the device."""

    class Device(counting_encoder):
        device = "cuda:0"

        def __init__(self):
            super().__init__()
            self.copied = [threading.Event() for _ in range(CANARY + BATCHES)]
            self.waited = []

        def begin(self, batch):
            number = len(self.batches)
            states = self.encode(batch)
            self.copied[number].set()
            return Launched(lambda: self._fetch(number, states), lambda: seconds)

        def _fetch(self, number, states):
            following = number + 1
            if CANARY <= number < CANARY + BATCHES - 1:
                assert self.copied[following].wait(CEILING_S), f"batch {following} was held back"
            self.waited.append(number)
            return states

    return Device()


def _request(tmp_path, cache):
    return JobRequest(
        dataset=tmp_path / "d", cache=tmp_path / cache, batch_size=SIZE, num_workers=0
    )


def test_a_batch_is_copied_before_the_forward_before_it_is_waited_for(
    tmp_path, make_dataset, counting_encoder
):
    titles = [{"item_id": f"i{n:02d}", "title": "x" * (n + 1)} for n in range(BATCHES * SIZE)]
    make_dataset(tmp_path / "d", titles)
    device = _device(counting_encoder)
    result = extract_modality(_request(tmp_path, "device"), device)
    assert device.waited == [*range(CANARY + BATCHES)]
    plain = extract_modality(_request(tmp_path, "plain"), counting_encoder())
    ours, theirs = open_store(result.store), open_store(plain.store)
    rows = np.arange(BATCHES * SIZE)
    assert ours.item_ids.tolist() == [item["item_id"] for item in titles]
    assert np.array_equal(ours.read(rows), theirs.read(rows))
    assert ours.read(rows)[:, 0, 0].tolist() == [n + 1 for n in range(BATCHES * SIZE)]


def test_the_report_has_the_seconds_of_the_device(tmp_path, make_dataset, counting_encoder):
    items = [{"item_id": f"i{n:02d}", "title": "x" * (n + 1)} for n in range(BATCHES * SIZE)]
    make_dataset(tmp_path / "d", items)
    result = extract_modality(_request(tmp_path, "c"), _device(counting_encoder, seconds=1e3))
    report = json.loads(result.report.read_text())
    forward = report["stages"]["forward"]
    # A thousand seconds a batch; the canary's forward is none of the job's.
    assert forward["seconds"] == BATCHES * 1e3
    assert forward["items_per_second"] == SIZE * 1e-3
    # More than the job took on its own clock, as no device would say.
    assert report["device_rate_reached"] == 1.0


def test_a_batch_without_inputs_takes_no_forward(tmp_path, make_dataset, counting_encoder):
    make_dataset(tmp_path / "d", [{"item_id": f"i{n}", "title": "refuse me"} for n in range(2)])
    result = extract_modality(_request(tmp_path, "c"), counting_encoder())
    report = json.loads(result.report.read_text())
    assert (report["forward_passes"], report["items"]["quarantined"]) == (0, 2)
    assert report["device_rate_reached"] == 0.0
