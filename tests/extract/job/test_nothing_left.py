"""A job that finds everything done asks nothing of its backbone but which store it fills."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from crossan.cache_schema.modality import Modality
from crossan.extract.job.plan import Shard
from crossan.extract.job.report import report_file
from crossan.extract.job.request import JobRequest
from crossan.extract.job.run import extract_modality, preview_modality

COMPUTING = ("device", "provenance", "text_length", "preparer", "prepare", "begin")


class AskedToComputeError(AssertionError):
    pass


def unloaded(encoder_class, modality):
    """Return an encoder that knows its identity and fails over anything that needs weights."""

    def refuse(self):
        raise AskedToComputeError

    refusing = type("Unloaded", (encoder_class,), dict.fromkeys(COMPUTING, property(refuse)))
    return refusing(modality)


@pytest.fixture
def dataset(tmp_path, make_dataset):
    def write(extra=()):
        shutil.rmtree(tmp_path / "d", ignore_errors=True)
        for number in range(5):
            Image.fromarray(np.full((2, 2, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
        items = [
            {"item_id": f"i{n}", "title": "word " * (n + 1), "image": str(tmp_path / f"{n}.png")}
            for n in range(5)
        ]
        return make_dataset(tmp_path / "d", [*items, {"item_id": "none"}, *extra])

    return write


def ask(tmp_path, **options):
    return JobRequest(
        dataset=tmp_path / "d", cache=tmp_path / "c", num_workers=0, batch_size=2, **options
    )


@pytest.mark.parametrize("modality", [Modality.TEXT, Modality.IMAGE])
@pytest.mark.parametrize("shard", ["1/1", "2/3"])
def test_a_finished_job_is_told_without_the_backbone(
    tmp_path, dataset, counting_encoder, modality, shard
):
    dataset()
    first = extract_modality(ask(tmp_path), counting_encoder(modality))
    request = ask(tmp_path, shard=Shard.parse(shard))
    encoder = unloaded(counting_encoder, modality)
    again = extract_modality(request, encoder)
    assert (again.forwarded, again.statuses, again.version) == (0, first.statuses, first.version)
    assert preview_modality(request, encoder).outlook.to_forward == 0
    report = json.loads(report_file(again.store, request.shard).read_text())
    assert report["items"] == {"planned": 0, "forwarded": 0} | {
        name: 0 for name in report["items"] if name not in {"planned", "forwarded"}
    }
    assert report["workers"] == {"count": 0, "lost": 0}
    assert list((again.store / "staging").iterdir()) == []


@pytest.mark.parametrize("modality", [Modality.TEXT, Modality.IMAGE])
def test_one_new_item_asks_it_to_compute(tmp_path, dataset, counting_encoder, modality):
    dataset()
    extract_modality(ask(tmp_path), counting_encoder(modality))
    dataset([{"item_id": "new", "title": "new", "image": str(tmp_path / "0.png")}])
    with pytest.raises(AskedToComputeError):
        extract_modality(ask(tmp_path), unloaded(counting_encoder, modality))
    assert extract_modality(ask(tmp_path), counting_encoder(modality)).forwarded == 1


def test_rows_that_a_dead_job_left_are_published_though_nothing_is_left(
    tmp_path, dataset, counting_encoder, monkeypatch
):
    from crossan.common.stores import Journal

    dataset()
    with monkeypatch.context() as dying:
        dying.setattr(Journal, "publish", lambda journal, producer: journal.close())
        extract_modality(ask(tmp_path), counting_encoder())
    again = extract_modality(ask(tmp_path), counting_encoder())
    assert (again.forwarded, again.version, again.statuses["ok"]) == (0, 1, 5)
