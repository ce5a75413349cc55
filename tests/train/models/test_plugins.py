"""docs/howto/bring-your-own-model.md, block by block: models, a fusion and an objective of another distribution."""

import json
import os
import shlex
import subprocess
import sys

import pytest
import torch

from crossan.cache_schema.errors import ConfigError
from crossan.train.cli import evaluate, recommend
from crossan.train.cli import train as train_command
from crossan.train.models.table import model_kinds
from crossan.train.objectives import ObjectiveContext, make_objective
from crossan.train.objectives.step import loss_by_position
from crossan.train.options.shared import complete_model
from crossan.train.sequences.padding import PADDING
from crossan.train.sequences.splits import TrainSplit
from crossan.train.settings import DataSettings, ObjectiveSettings, RunSettings
from crossan.train.settings_command import settings as settings_command
from support.commands import run, train_in
from support.distributions import Page, lay_out, look_anew
from support.fabricated import write_small
from support.small_models import ITEM_COUNT, make_features, make_model

PAGE = Page("bring-your-own-model.md")
BROKEN = """
from typing import Literal

from pydantic import Field
from shop_kinds import NextItemSettings

from crossan.train.models.table import ModelEntry
from crossan.train.settings import ModelSettings


class NoBuilderSettings(ModelSettings):
    kind: Literal["no-builder"] = "no-builder"


class NoModelSettings(ModelSettings):
    kind: Literal["no-model"] = "no-model"
    anything: dict[str, int] = Field(default_factory=dict)


def build_no_model(settings, context):
    from torch import nn

    return nn.Linear(1, 1)  # a module, which nothing can rank by


NO_SETTINGS = ModelEntry(str, "shop_next_item:build")
NO_BUILDER = ModelEntry(NoBuilderSettings, "shop_next_item:nothing_of_this_name")
NO_MODEL = ModelEntry(NoModelSettings, "shop_broken:build_no_model")
OTHER_KIND = ModelEntry(NextItemSettings, "shop_next_item:build")
"""
BROKEN_POINTS = {
    "no-settings": "shop_broken:NO_SETTINGS",
    "no-builder": "shop_broken:NO_BUILDER",
    "no-model": "shop_broken:NO_MODEL",
    "other-kind": "shop_broken:OTHER_KIND",
    "not-there": "shop_nowhere:ENTRY",
}

QUICK = ("model.width=16", "optimiser.lr=0.01", "batch_size=32", "max_epochs=4")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Return a function that installs a distribution for the test."""
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    def install(*distribution):
        lay_out(tmp_path / "site", *distribution)
        look_anew()

    yield install
    monkeypatch.undo()
    look_anew()


@pytest.fixture
def shop(installed):
    """Install what the how-to adds, and what of another distribution is broken."""
    installed("shop-models", PAGE.files, PAGE.points)
    installed("shop-broken", {"shop_broken.py": BROKEN}, {"crossan.models": BROKEN_POINTS})


@pytest.fixture
def place(tmp_path):
    return write_small(tmp_path)


def train(place, *more, out="r", settings=QUICK):
    return json.loads(train_in(place, settings, *more, out=out).stdout.splitlines()[-1])


def test_the_kinds_are_known_without_loading_them(shop):
    assert {"crossan", "next-item", "last-layer", "not-there"} <= set(model_kinds())


def test_tab_completes_them_without_loading_them(shop, capsys):
    assert complete_model("n") == [
        "next-item",
        "no-builder",
        "no-model",
        "no-settings",
        "not-there",
    ]
    assert complete_model("sas") == ["sasrec"]
    assert capsys.readouterr() == ("", "")


def test_a_counting_model_runs_like_our_own(shop, place):
    arguments = ("--model", "next-item", "--set", "model.weight=2")
    result = train(place, *arguments, settings=())
    assert (result["model"], result["trainable_parameters"]) == ("next-item", 0)
    # users keep to a topic: the follower of an item is of its topic, the popular item of any
    assert result["valid"]["hr@10"] > 2 * result["popularity"]["valid"]["hr@10"]
    again = json.loads(run(evaluate, place / "r", "--json").stdout)
    assert (again["model"], again["test"]) == ("next-item", result["test"])
    shown = json.loads(run(recommend, place / "r", "--history", "i00,i01", "--json").stdout)
    assert shown["items"][0]["item_id"].startswith("i0")
    resumed = train(place, *arguments, "--resume", settings=())
    assert resumed["test"] == result["test"]


def test_a_trained_model_runs_like_our_own(shop, place):
    result = train(place, "--model", "last-layer")
    assert result["model"] == "last-layer"
    assert result["valid"]["hr@10"] > result["popularity"]["valid"]["hr@10"]
    assert json.loads(run(evaluate, place / "r", "--json").stdout)["valid"] == result["valid"]


def test_a_fusion_takes_the_place_of_momef(shop, place):
    plain, mean = (
        train(place, "--model", "frozen", *more, out=out)
        for out, more in (("plain", ()), ("mean", ("--set", "model.fusion=mean")))
    )
    momef = 2 * (16 * 16 + 16) + 2 * 16 * 2 + 2
    assert plain["trainable_parameters"] - mean["trainable_parameters"] == momef


def test_an_objective_is_minimised(shop, place):
    settings = (*QUICK, "objective.kind=half-debiased")
    json.loads(train_in(place, settings, "--model", "frozen").stdout.splitlines()[-1])
    lines = [json.loads(line) for line in (place / "r" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_half_debiased_is_the_paper_s_loss_with_half_of_log_p(shop):
    model = make_model([5], "sum", 0)
    features = make_features([5], torch.Generator().manual_seed(1))
    sequences = torch.tensor([[PADDING, PADDING, 0, 1, 2, 3], [PADDING, 4, 5, 6, 1, 0]])
    log_p = torch.linspace(-3, -1, ITEM_COUNT).double()
    settings = RunSettings(
        data=DataSettings(dataset="d"), objective=ObjectiveSettings(kind="half-debiased")
    )
    objective = make_objective(ObjectiveContext(settings, TrainSplit(sequences), log_p))
    loss = objective.prepare(features, torch.tensor([0, 1]))(model)
    plain = loss_by_position(model, features, sequences, log_p / 2)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-9)
    assert loss.item() != pytest.approx(
        loss_by_position(model, features, sequences, log_p).item(), rel=1e-3
    )


def test_the_page_has_the_blocks_that_are_run_here():
    assert list(PAGE.files) == [
        "shop_kinds.py",
        "shop_next_item.py",
        "shop_last_layer.py",
        "shop_objective.py",
    ]
    assert list(PAGE.points) == ["crossan.models", "crossan.fusions", "crossan.objectives"]


def test_the_commands_of_the_page_run(shop, place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("CROSSAN_DATASET", str(place / "d"))
    monkeypatch.setenv("CROSSAN_CACHE", str(place / "c"))
    (block,) = PAGE.shell
    programs = {"crossan-train": train_command, "crossan evaluate": evaluate}
    programs["crossan settings"] = settings_command
    for line in block.splitlines():
        (program,) = [name for name in programs if line.startswith(f"{name} ")]
        run(programs[program], *shlex.split(line.removeprefix(program)))
    results = {
        path.name: json.loads((path / "result.json").read_text())["model"]
        for path in (place / "runs").iterdir()
    }
    assert results == {"next-item": "next-item", "last-layer": "last-layer", "mean": "frozen"}


def test_settings_and_entries_load_no_torch(shop, tmp_path):
    """The settings of a package are read by commands that must stay quick."""
    script = "import sys, shop_kinds; print('torch' in sys.modules)"
    path = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_its_settings_are_printed_like_ours(shop):
    printed = run(settings_command, "next-item")
    assert "model.weight" in printed.stdout
    assert "What one follower counts beside popularity" in printed.stdout


def test_a_broken_package_breaks_only_its_own_kinds(shop, place):
    printed = run(settings_command)
    assert "model.top_k" in printed.stdout
    assert "model.anything" in printed.stdout  # its type is unknown to us, which hides nothing
    named = [line for line in printed.stderr.splitlines() if line.startswith("left out")]
    broken = ("no-settings", "not-there", "other-kind")
    assert len(named) == len(broken)
    assert all(any(kind in line for line in named) for kind in broken)
    assert train(place, "--model", "frozen")["model"] == "frozen"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "next-itm"), r"got 'next-itm'; did you mean 'next-item'\?"),
        (("--model", "not-there"), r"crossan\.models: not-there = shop_nowhere:ENTRY of shop-broken could not be loaded: ModuleNotFoundError"),
        (("--model", "no-settings"), r"expected a ModelEntry with settings for the model 'no-settings'"),
        (("--model", "no-builder"), r"expected the model 'no-builder' to be built by 'package\.module:function', got 'shop_next_item:nothing_of_this_name'"),
        (("--model", "no-model"), r"expected the model 'no-model' to be a SequenceModel, or an nn\.Module that is a CountingModel or a TableModel, got one of Linear"),
        (("--model", "other-kind"), r"expected the field 'kind' of NextItemSettings to have the name of its entry point, 'other-kind', got 'next-item'"),
        (("--set", "model.fusion=men"), r"model\.fusion: .*did you mean 'mean'\?"),
        (("--set", "objective.kind=half-debiasd"), r"objective\.kind: .*did you mean 'half-debiased'\?"),
        (("--model", "next-item", "--set", "model.weigt=2"), r"did you mean 'model\.weight'\?"),
        (("--model", "next-item", "--set", "model.weight=0"), r"model\.weight: Input should be greater than 0"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(shop, place, arguments, message):
    with pytest.raises(ConfigError, match=message) as refused:
        train(place, *arguments, settings=())
    assert refused.value.exit_code == 2
    assert not (place / "r").exists()


def test_a_name_of_ours_cannot_be_taken(installed, place):
    points = {"crossan.models": {"sasrec": "shop_kinds:NEXT_ITEM"}}
    installed("shop-models", PAGE.files, points)
    with pytest.raises(
        ConfigError,
        match="sasrec = shop_kinds:NEXT_ITEM of shop-models is also brought by crossan itself",
    ) as refused:
        train(place, "--model", "sasrec", settings=())
    assert refused.value.remedy == "pip uninstall shop-models"
