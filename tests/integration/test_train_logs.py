"""`crossan-train --log`: curves of a real training, and of one that goes on."""

import importlib.util

import pytest

from crossan.cache_schema.errors import UsageError
from crossan.train.record.run_folder import RunFolder
from support.commands import train_quickly

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("tensorboard") is None,
        reason="tensorboard is not installed: the extra tensorboard",
    ),
    pytest.mark.filterwarnings("ignore"),  # of what tensorboard's own libraries deprecate
]
IDS = ("--model", "sasrec", "--log", "tensorboard")


def scalars(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "logs/tensorboard")).Reload()
    return {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}


def test_curves_are_those_of_the_run_and_go_on_with_it(place):
    train_quickly(place, *IDS, "--validation-only", epochs=2)
    first = scalars(place / "r")
    assert [point.step for point in first["loss"]] == [1, 2]
    assert not [tag for tag in first if "test" in tag]  # no test target was looked at
    result = train_quickly(place, *IDS, "--resume", epochs=4)
    lines = RunFolder(place / "r").metrics()
    curves = scalars(place / "r")
    assert [(point.step, point.value) for point in curves["loss"]] == [
        (line["epoch"], pytest.approx(line["loss"])) for line in lines
    ]
    assert [point.value for point in curves["valid/ndcg@20"]] == [
        pytest.approx(line["valid"]["ndcg@20"]) for line in lines
    ]
    (final,) = curves["final/test/hr@10"]
    assert (final.step, final.value) == (
        result["best_epoch"],
        pytest.approx(result["test"]["hr@10"]),
    )


def test_a_model_that_counts_has_one_point(place):
    train_quickly(place, "--model", "popularity", "--log", "tensorboard", out="counts")
    curves = scalars(place / "counts")
    assert "loss" not in curves
    assert [point.step for point in curves["valid/hr@10"]] == [1]


def test_a_log_whose_library_is_missing_is_refused_before_the_run_begins(place, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="--log tensorboard: expected the package tensorboard"):
        train_quickly(place, *IDS, out="none")
    assert not (place / "none").exists()
