"""Training by crossan.api: what the command gives, settings, recipes, and code of one's own."""

import json
import sys

import pytest
import torch

from crossan import api
from crossan.common.code_names import ALLOW_CODE
from crossan.train.cli import evaluate, export, recommend
from crossan.train.settings.kinds import model_settings_classes
from support.commands import run as run_command
from support.distributions import look_anew


def steps_of(kind):
    return model_settings_classes()[kind].is_trained_by_steps


SMALL = {"model.width": 16, "max_epochs": 1, "batch_size": 32, "optimiser": {"lr": 0.01}}


def test_training_gives_the_bytes_of_the_command(world, tmp_path):
    """The run of the fixture was trained by crossan-train; this is the same from Python."""
    settings = (world / "runs" / "first" / "config.toml").read_text()
    (tmp_path / "same.toml").write_text(settings)
    run = api.train(
        dataset=world / "d", cache=world / "c", out=tmp_path / "r", device="cpu",
        settings=tmp_path / "same.toml",
    )  # fmt: skip
    weights = "checkpoints/best/model.safetensors"
    assert (run.path / weights).read_bytes() == (world / "runs/first" / weights).read_bytes()
    assert run.result["test"] == api.open_run(world / "runs" / "first").result["test"]
    again = api.train(
        dataset=world / "d", cache=world / "c", out=tmp_path / "r", device="cpu", resume=True,
        settings=tmp_path / "same.toml",
    )  # fmt: skip
    assert again.result == run.result


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (
            {"settings": {"model.wdith": 3}},
            "unknown setting 'model.wdith'; did you mean 'model.width'",
        ),
        ({"max_epoch": 3}, "unknown setting 'max_epoch'; did you mean 'max_epochs'"),
        ({"optimiser__lr": -1.0}, "optimiser.lr"),
        ({"settings": ["a=1"]}, "expected a TOML file or a mapping"),
        ({"model": "crossam"}, "did you mean 'crossan'"),
        ({"fusion": "momeff"}, "did you mean 'momef'"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_written(world, tmp_path, more, match):
    with pytest.raises(api.UsageError, match=match):
        api.train(dataset=world / "d", cache=world / "c", out=tmp_path / "r", **more)
    assert not (tmp_path / "r").exists()


def test_a_recipe_stands_below_what_is_given(world, tmp_path):
    run = api.train(
        dataset=world / "d", cache=world / "c", out=tmp_path / "r", device="cpu",
        recipe="table3/50k-TI", settings={"model.width": 16, "model.bottleneck_dim": 8},
        max_epochs=1, batch_size=32, model__top_k=2,
    )  # fmt: skip
    assert (run.settings["model"]["width"], run.settings["max_epochs"]) == (16, 1)
    assert run.settings["data"]["modality"] == ["text", "image"]  # the row's
    assert (run.path / "recipe.json").is_file()
    with pytest.raises(api.UsageError, match="table3/50k-XY"):
        api.train(dataset=world / "d", out=tmp_path / "other", recipe="table3/50k-XY")


MODULE = """
import torch


class Mean(torch.nn.Module):
    def __init__(self, modality_count, width):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(width))

    def forward(self, outputs, presence):
        return self.scale * outputs.sum(dim=1) / presence.sum(dim=1, keepdim=True)


def bpr(batch):
    positive = batch.scores.gather(1, batch.positive[:, None])
    terms = torch.nn.functional.softplus(batch.scores - positive)
    return (terms * batch.is_negative).sum() / batch.is_negative.sum().clamp(min=1)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's own, importable by its name."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "shop_parts_of_mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    look_anew()
    import shop_parts_of_mine as module

    yield module
    del sys.modules["shop_parts_of_mine"]


def test_parts_of_a_module_are_recorded_and_opened_where_they_are_allowed(
    world, tmp_path, own, monkeypatch, capsys
):
    run = api.train(
        dataset=world / "d", cache=world / "c", out=tmp_path / "r", device="cpu", model="frozen",
        fusion=own.Mean, objective=own.bpr, settings=SMALL,
    )  # fmt: skip
    assert "no module that another process can import" not in capsys.readouterr().err
    assert run.settings["model"]["fusion"] == "shop_parts_of_mine:Mean"
    assert run.settings["objective"]["kind"] == "shop_parts_of_mine:bpr"
    best = run.recommend(user="u001").to_pylist()
    with pytest.raises(
        api.ConfigError, match="model.fusion=shop_parts_of_mine:Mean: expected leave"
    ):
        run_command(evaluate, run.path, "--json")
    with pytest.raises(api.ConfigError, match=f"{ALLOW_CODE}=shop_parts_of_mine"):
        api.open_run(run.path).recommend(user="u001")
    assert api.open_run(run.path, fusion=own.Mean).recommend(user="u001").to_pylist() == best
    monkeypatch.setenv(ALLOW_CODE, "shop_parts_of_mine")
    assert (
        json.loads(run_command(evaluate, run.path, "--json").stdout)["test"] == run.result["test"]
    )
    shown = json.loads(run_command(recommend, run.path, "--user", "u001", "--json").stdout)
    assert [item["item_id"] for item in shown["items"]] == [item["item_id"] for item in best]


def test_a_class_of_a_notebook_is_said_to_be_lost_and_opens_where_it_is_passed(
    world, tmp_path, own, capsys
):
    class Mine(own.Mean):
        pass

    run = api.train(
        dataset=world / "d", cache=world / "c", out=tmp_path / "r", device="cpu", model="frozen",
        fusion=Mine, settings=SMALL,
    )  # fmt: skip
    said = capsys.readouterr().err
    assert "fusion: " in said
    assert "open_run(..., fusion=...)" in said
    best = run.recommend(user="u001").to_pylist()
    with pytest.raises(api.ConfigError, match="defined in a notebook, a script or a function"):
        api.open_run(run.path).item_vectors()
    assert api.open_run(run.path, fusion=Mine).recommend(user="u001").to_pylist() == best
    with pytest.raises(api.UsageError, match="objective: expected none, .* but with in-batch"):
        api.open_run(run.path, fusion=Mine, objective=own.bpr)


@pytest.mark.parametrize(
    ("fusion", "match"),
    [
        (lambda modality_count, width: "nothing", "expected a subclass of nn.Module"),
        (3, "a class, a function or an object that a module has a name for"),
    ],
)
def test_what_is_no_fusion_is_refused(world, tmp_path, fusion, match):
    with pytest.raises(api.ConfigError, match=match):
        api.train(
            dataset=world / "d", cache=world / "c", out=tmp_path / "r", model="frozen",
            fusion=fusion, settings=SMALL,
        )  # fmt: skip
    assert not (tmp_path / "r").exists()


class Bare(torch.nn.Module):
    def __init__(self, modality_count, width):
        super().__init__()


def fusion_giving(give):
    return type("Gives", (Bare,), {"forward": lambda self, outputs, presence: give(outputs)})


@pytest.mark.parametrize(
    ("give", "found"),
    [
        (lambda outputs: torch.cat([outputs, outputs], -1).sum(1), r"got \(\d+, 32\) float32"),
        (lambda outputs: outputs.mean(), r"got \(\) float32"),
        (lambda outputs: outputs.sum(1).double(), r"got \(\d+, 16\) float64"),
        (lambda outputs: None, "got NoneType"),
        (lambda outputs: (outputs.sum(1), 0), "got tuple"),
    ],
)
def test_a_fusion_that_gives_no_item_vectors_is_refused(world, tmp_path, give, found):
    with pytest.raises(
        api.ConfigError, match=rf"Gives: expected item vectors .* = \(\d+, 16\).*{found}"
    ):
        api.train(
            dataset=world / "d", cache=world / "c", out=tmp_path / "r", model="frozen",
            fusion=fusion_giving(give), settings=SMALL, device="cpu",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("objective", "match"),
    [
        (lambda batch: torch.tensor(1.0), "depends on batch.scores .* without a gradient"),
        (lambda batch: batch.scores.detach().sum(), "without a gradient"),
        (lambda batch: 3.0, "a tensor of one number .* got float"),
        (lambda batch: batch.scores.sum(1), r"a tensor of one number .* got \(\d+,\)"),
    ],
)
def test_an_objective_that_gives_no_loss_is_refused(world, tmp_path, objective, match):
    with pytest.raises(api.ConfigError, match=match):
        api.train(
            dataset=world / "d", cache=world / "c", out=tmp_path / "r", model="frozen",
            objective=objective, settings=SMALL, device="cpu",
        )  # fmt: skip


def test_a_model_with_a_vector_for_each_user_is_asked_by_user(world, tmp_path, capsys):
    run = api.train(
        dataset=world / "d", cache=world / "c", out=tmp_path / "r", model="vbpr", max_epochs=1,
        device="cpu",
    )  # fmt: skip
    listed = run_command(recommend, run.path, "--user", "u001", "--json").stdout
    best = run.recommend(user="u001")
    assert best.column("item_id").to_pylist() == [
        item["item_id"] for item in json.loads(listed)["items"]
    ]
    scores = dict(zip(run.items, run.scores(user="u001").tolist(), strict=True))
    assert [scores[item] for item in best.column("item_id").to_pylist()] == pytest.approx(
        best.column("score").to_pylist()
    )
    for ask in (run.recommend, run.scores):
        with pytest.raises(api.UsageError, match="expected a user that the run was trained on"):
            ask(["i01"])
    with pytest.raises(api.UsageError, match=r"got one of vbpr(.|\n)*--all-users --out"):
        run_command(export, run.path, "--out", tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


@pytest.mark.parametrize("kind", [kind for kind in model_settings_classes() if not steps_of(kind)])
def test_an_objective_for_what_takes_no_steps_is_refused(world, tmp_path, kind):
    with pytest.raises(api.UsageError, match=f"objective: expected none with model.kind={kind}"):
        api.train(
            dataset=world / "d",
            out=tmp_path / "r",
            model=kind,
            objective=lambda batch: batch.scores,
        )
    assert not (tmp_path / "r").exists()
