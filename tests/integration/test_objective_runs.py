"""Runs of every objective: they learn, and one that died ends as if it had not, whatever it remembered between steps."""

import json

import pytest

from crossan.cache_schema.errors import ConfigError, UsageError
from support.commands import train_in
from support.outcomes import unmeasured_bytes
from support.stopping import Died, die_at_step

SETTINGS = (
    "model.bottleneck_dim=8",
    "model.width=16",
    "optimiser.adapter_lr=0.01",
    "optimiser.id_lr=0.01",
    "optimiser.lr=0.01",
    "batch_size=32",
)
OBJECTIVES = {
    "catalogue of content": ("objective.kind=catalogue", "objective.refresh_steps=4"),
    "catalogue of both": (
        "objective.kind=catalogue",
        "objective.refresh_steps=3",
        "model.id_embedding=true",
    ),
    "catalogue of ids": (
        "objective.kind=catalogue",
        "model.kind=sasrec",
    ),
    "cross-batch": ("objective.kind=cross-batch", "objective.memory_size=50"),
}


def run_train(place, settings, *more, out="r", epochs=3):
    settings = (*SETTINGS, f"max_epochs={epochs}", *settings)
    return json.loads(train_in(place, settings, *more, out=out).stdout.splitlines()[-1])


def outcome(run_folder):
    paths = [*sorted(run_folder.glob("checkpoints/*/*.safetensors")), run_folder / "metrics.jsonl"]
    return {
        str(path.relative_to(run_folder)): unmeasured_bytes(path)
        for path in paths
        if "previous" not in str(path)
    }


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_run_that_died_twice_ends_as_if_it_had_not(place, name, monkeypatch):
    """5 steps an epoch and a checkpoint every 2: it dies in the first and in the second epoch, having lost steps."""
    whole, died = f"{name} whole", f"{name} died"
    result = run_train(place, OBJECTIVES[name], out=whole)
    for at, more in ((4, ()), (5, ("--resume",))):
        with monkeypatch.context() as patch:
            die_at_step(patch, at)
            with pytest.raises(Died):
                run_train(
                    place, OBJECTIVES[name], "--set", "checkpoint.every_steps=2", *more, out=died
                )
    resumed = run_train(place, OBJECTIVES[name], "--resume", out=died)
    assert outcome(place / died) == outcome(place / whole)
    for key in ("valid", "test", "best_epoch"):
        assert resumed[key] == result[key]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_learns(place, name):
    result = run_train(place, OBJECTIVES[name], out=f"{name} long", epochs=10)
    assert result["valid"]["hr@10"] > 0.9 > result["popularity"]["valid"]["hr@10"] + 0.3


def test_a_checkpoint_holds_what_an_objective_remembers_and_only_that(place):
    for number, settings in enumerate(
        ((), OBJECTIVES["catalogue of ids"], OBJECTIVES["cross-batch"])
    ):
        run_train(place, settings, out=f"files {number}", epochs=1)
    found = [
        sorted(path.stem for path in (place / f"files {n}/checkpoints/last").iterdir())
        for n in range(3)
    ]
    plain = ["model", "optimiser", "random", "state"]
    assert found == [plain, plain, ["model", "objective", *plain[1:]]]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_run_begun_from_another_may_die_before_its_first_step(place, name, monkeypatch):
    """The first checkpoint is written then, of an objective that remembers nothing yet."""
    paper = [setting for setting in OBJECTIVES[name] if not setting.startswith("objective.")]
    run_train(place, paper, out=f"{name} before", epochs=1)
    begun = ("--init", place / f"{name} before")
    run_train(place, OBJECTIVES[name], *begun, out=f"{name} begun whole", epochs=1)
    with monkeypatch.context() as patch:
        die_at_step(patch, 1)
        with pytest.raises(Died):
            run_train(place, OBJECTIVES[name], *begun, out=f"{name} begun", epochs=1)
    run_train(place, OBJECTIVES[name], *begun, "--resume", out=f"{name} begun", epochs=1)
    assert outcome(place / f"{name} begun") == outcome(place / f"{name} begun whole")


def test_a_run_goes_on_with_its_own_objective_only(place):
    run_train(place, OBJECTIVES["cross-batch"], out="own", epochs=1)
    with pytest.raises(UsageError, match=r"\n  objective\.memory_size: 50 there, 51 asked"):
        run_train(
            place,
            (*OBJECTIVES["cross-batch"], "objective.memory_size=51"),
            "--resume",
            out="own",
            epochs=1,
        )


@pytest.mark.parametrize("name", ["catalogue of content", "cross-batch"])
def test_the_slow_step_is_the_papers_objective_only(place, name):
    kind = OBJECTIVES[name][0].partition("=")[2]
    with pytest.raises(
        ConfigError, match=f"expected objective.kind=in-batch with reference, got {kind}"
    ):
        run_train(place, OBJECTIVES[name], "--reference", out="slow")
