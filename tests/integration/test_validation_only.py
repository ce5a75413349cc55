"""`crossan-train --validation-only`: the same run, with the test targets out of reach by type and in fact."""

import dataclasses
import gc
import json
import typing

import pytest

from crossan.common.datasets import KeptSequences
from crossan.train.loop.trainable import RefitRun, TrainableRun
from crossan.train.loop.trainer import fit
from crossan.train.ranks.ranks import Ranks
from crossan.train.runs.opening import OpenedRun
from crossan.train.runs.planning import RunPlan
from crossan.train.runs.training import train_without_test
from crossan.train.sequences.refit import RefitSequences
from crossan.train.sequences.splits import TestSplit, train_split, validation_split
from support.commands import train_in
from support.fabricated import make_sequences, write_rows
from support.outcomes import MEASURED, unmeasured_bytes
from support.stopping import at_step, before_steps

SETTINGS = (
    "model.bottleneck_dim=8",
    "model.width=16",
    "optimiser.lr=0.01",
    "batch_size=32",
    "max_epochs=4",
)


def run_train(place, *more, out):
    return json.loads(train_in(place, SETTINGS, *more, out=out).stdout.splitlines()[-1])


def trained(run):
    """Return all that training leaves behind, as bytes by file."""
    files = [
        f"checkpoints/{name}/{file}.safetensors"
        for name, file in (("last", "model"), ("last", "optimiser"), ("best", "model"))
    ]
    files = (*files, "metrics.jsonl", "config.toml")
    return {file: unmeasured_bytes(run / file) for file in files}


def unmeasured(result):
    return {key: value for key, value in result.items() if key not in MEASURED}


@pytest.fixture(scope="module")
def plain(place):
    return run_train(place, out="plain")


def test_it_ends_in_the_same_weights_and_the_same_validation_figures(place, plain):
    figures = run_train(place, "--validation-only", out="v")
    assert trained(place / "v") == trained(place / "plain")
    assert figures["valid"] == plain["valid"]
    assert figures == json.loads((place / "v/validation.json").read_text())
    assert figures["best_epoch"] == plain["best_epoch"]
    assert not {"test", "cold_test", "slices", "recommendations"} & set(figures)
    assert not (place / "v/result.json").exists()
    assert not (place / "v/eval").exists()
    finished = run_train(place, "--resume", out="v")
    assert unmeasured(finished) == unmeasured(plain)
    assert (place / "v/eval/per_user.parquet").read_bytes() == (
        place / "plain/eval/per_user.parquet"
    ).read_bytes()


def held(kinds):
    gc.collect()
    return {type(thing).__name__ for thing in gc.get_objects() if type(thing) in kinds}


@pytest.mark.parametrize(
    ("more", "expected"), [(("--validation-only",), set()), ((), {"KeptSequences", "OpenedRun"})]
)
def test_while_it_trains_no_object_holds_a_test_target(
    place, tmp_path, monkeypatch, more, expected
):
    seen = []
    look = at_step(1, lambda: seen.append(held((KeptSequences, OpenedRun, TestSplit))))
    before_steps(monkeypatch, look)
    run_train(place, *more, out=tmp_path / "r")
    assert seen == [expected]


def parts_of(hint):
    """Yield a type and all that it is made of, the arguments of a callable among them."""
    yield hint
    # A callable has the list of its arguments, which is no type of its own.
    for part in typing.get_args(hint):
        for each in part if isinstance(part, list) else (part,):
            yield from parts_of(each)


def reachable(kind, found):
    """Return every class that the fields and methods of a dataclass lead to."""
    if kind in found or not dataclasses.is_dataclass(kind):
        return found
    found.add(kind)
    hints = list(typing.get_type_hints(kind).values())
    for member in vars(kind).values():
        if (
            callable(member)
            and getattr(member, "__annotations__", None)
            and not isinstance(member, type)
        ):
            hints += [h for name, h in typing.get_type_hints(member).items() if name == "return"]
    for hint in hints:
        for part in parts_of(hint):
            found.add(part) if not dataclasses.is_dataclass(part) else reachable(part, found)
    return found


def test_by_type_nothing_that_training_is_handed_leads_to_the_test_part():
    hints = typing.get_type_hints(fit)
    handed = [hint for name, hint in hints.items() if name != "return"]
    assert handed[:2] == [TrainableRun, Ranks]
    assert typing.get_type_hints(train_without_test)["plan"] == RunPlan[TrainableRun]
    # The plan's run has the type that the plan is of; what else a plan has is the same for all.
    parts = [hint for name, hint in typing.get_type_hints(RunPlan).items() if name != "run"]
    for hint in (*handed, *parts):
        others = {KeptSequences, TestSplit, OpenedRun, RefitRun, RefitSequences}
        assert not others & reachable(hint, set())
    assert KeptSequences in reachable(OpenedRun, set())  # so the walk does find it where it is
    for split in (train_split, validation_split):
        assert typing.get_type_hints(split)["seen"].__name__ == "SelectionSequences"


def with_other_test_items(rows):
    """Give every user the last item of the next one: the catalogue stays."""
    last = {user: item for user, item, _ in rows}
    users = sorted(last)
    following = dict(zip(users, users[1:] + users[:1], strict=True))
    ends = {user: max(time for other, _, time in rows if other == user) for user in users}
    return [(u, last[following[u]] if time == ends[u] else item, time) for u, item, time in rows]


def test_other_test_items_change_nothing_that_is_left_behind(place, tmp_path):
    (tmp_path / "c").symlink_to(place / "c")
    for name, rows in (("one", make_sequences()), ("two", with_other_test_items(make_sequences()))):
        (tmp_path / "d").unlink(missing_ok=True)
        write_rows(tmp_path / name, rows)
        (tmp_path / "d").symlink_to(name)
        run_train(tmp_path, "--validation-only", out=f"run-{name}")
    one, two = (
        json.loads((tmp_path / f"run-{name}/validation.json").read_text())
        for name in ("one", "two")
    )
    assert unmeasured(one) == unmeasured(two)
    assert trained(tmp_path / "run-one") == trained(tmp_path / "run-two")
    finished = [run_train(tmp_path, "--resume", out="run-two")["test"]]
    (tmp_path / "d").unlink()
    (tmp_path / "d").symlink_to("one")
    finished.append(run_train(tmp_path, "--resume", out="run-one")["test"])
    assert finished[0] != finished[1]  # so the items are others indeed
