"""Runs and stores of the version that chose its model by flags, opened by today's.

``data/runs-before-kinds.tar.gz`` holds a dataset ``d``, a cache ``c`` and three runs ``r`` of two
epochs, made at the last commit before `model.kind` by ``crossan-train --set max_epochs=2 --set
batch_size=16 --set model.width=4 --set model.dropout=0 --device cpu`` with, beside that,

- crossan: ``--set model.bottleneck_dim=2 --set model.id_embedding=true``
- frozen: ``--set model.adapters=false``
- sasrec: ``--set model.content=false --set model.id_embedding=true``

and in ``expected`` what the same version made of them with ``--resume --set max_epochs=3``. Paths
are @PLACE@ in its text files.
"""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from crossan.cache_schema.errors import UsageError
from crossan.common.stores import fsck, open_store
from crossan.train.cli import evaluate, recommend, train
from crossan.train.record.run_folder import RunFolder
from crossan.train.report.cli import report
from support.commands import run
from support.reported import undrawn_figures

ARCHIVE = Path(__file__).parent / "data" / "runs-before-kinds.tar.gz"
KINDS = ("crossan", "frozen", "sasrec")
RESUMED = ("--resume", "--allow-other-spec", "--device", "cpu", "--json")


@pytest.fixture
def place(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    for path in tmp_path.rglob("*"):
        if path.suffix in {".toml", ".json"}:
            path.write_text(path.read_text().replace("@PLACE@", str(tmp_path)))
    return tmp_path


def last_line(result):
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_evaluated_as_it_was(place, kind):
    recorded = json.loads((place / "r" / kind / "result.json").read_text())
    again = last_line(run(evaluate, place / "r" / kind, "--device", "cpu", "--json"))
    assert again["model"] == kind
    for split in ("valid", "test"):
        # another processor rounds otherwise, by which one of 40 users may move
        assert again[split] == pytest.approx(recorded[split], abs=0.03)
    lock = json.loads((place / "r" / kind / "dataset.lock.json").read_text())
    data = {"split": "leave-last-out", "split_seed": None, "sequences": lock["sequences"]}
    assert {name: again[name] for name in data} == data
    assert RunFolder(place / "r" / kind).result() == {"model": kind, **data, **recorded}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_resumed_to_the_same_weights(place, kind):
    folder = place / "r" / kind
    arguments = ("--config", folder / "config.toml", "--out", folder, "--set", "max_epochs=3")
    result = last_line(run(train, *arguments, *RESUMED))
    expected = json.loads((place / "expected" / f"{kind}.json").read_text())
    assert (result["model"], result["epochs"]) == (kind, 3)
    assert result["valid"] == pytest.approx(expected["valid"], abs=0.03)
    weights = load_file(folder / "checkpoints" / "last" / "model.safetensors")
    for name, tensor in load_file(place / "expected" / f"{kind}.safetensors").items():
        np.testing.assert_allclose(weights[name], tensor, atol=1e-4, err_msg=name)
    config = (folder / "config.toml").read_text()
    assert f'kind = "{kind}"' in config
    assert "adapters" not in config
    assert "content" not in config


def test_the_flags_still_choose_the_model(place):
    """As a command line of then: what it would train is what lies there, but for the defaults."""
    flags = (
        *("model.content=false", "model.id_embedding=true", "model.width=4", "model.dropout=0"),
        *("average_epochs=1", "objective.debias=all"),
    )
    given = [part for flag in (*flags, "max_epochs=2", "batch_size=16") for part in ("--set", flag)]
    result = last_line(
        run(train, "--dataset", place / "d", "--out", place / "r" / "sasrec", *given, *RESUMED)
    )
    assert (result["model"], result["epochs"]) == ("sasrec", 2)


def test_another_model_is_not_resumed_over_it(place):
    with pytest.raises(UsageError, match=r"model\.kind: frozen there, crossan asked"):
        run(
            train,
            *("--config", place / "r" / "frozen" / "config.toml", "--out", place / "r" / "frozen"),
            *("--model", "crossan", *RESUMED),
        )


def test_a_run_is_reported_and_recommends(place):
    for kind in KINDS:
        with undrawn_figures():
            run(report, place / "r" / kind, "--out", place / f"{kind}.html")
        page = (place / f"{kind}.html").read_text()
        assert f"<h1>{kind}</h1>" in page
        assert "Worst misses" in page
        shown = last_line(run(recommend, place / "r" / kind, "--user", "u000", "--json"))
        assert len(shown["items"]) == 10


def test_its_stores_are_sound(place):
    for folder in sorted((place / "c" / "small").glob("*/*")):
        assert not fsck(folder).problems
        assert len(open_store(folder).item_ids) == 28
