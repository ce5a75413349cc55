"""Models, fusions and objectives of another distribution, with no change in crossan."""

import json

import pytest

from crossan.cache_schema.errors import ConfigError
from crossan.common import plugins
from crossan.train.cli import evaluate, recommend
from crossan.train.models.table import model_kinds
from crossan.train.settings import models
from crossan.train.settings_command import settings as settings_command
from support.commands import run, train_in
from support.fabricated import write_small

ENTRIES = '''
"""What the distribution adds; no torch is imported here, so that settings are read without it."""

from typing import ClassVar, Literal

from pydantic import Field

from crossan.train.models.table import ModelEntry
from crossan.train.settings import ContentSettings, ModelSettings


class NextItemSettings(ModelSettings):
    """Items that followed the last one."""

    kind: Literal["next-item"] = "next-item"
    weight: float = Field(default=1.0, gt=0)
    """What one follower counts beside popularity."""

    is_trained_by_steps: ClassVar[bool] = False


class LastLayerSettings(ContentSettings):
    """The mean of the highest hidden states."""

    kind: Literal["last-layer"] = "last-layer"


class BuiltBy(ModelSettings):
    """A kind for each way to be built wrongly."""


class NoBuilderSettings(BuiltBy):
    kind: Literal["no-builder"] = "no-builder"


class NoModelSettings(BuiltBy):
    kind: Literal["no-model"] = "no-model"
    anything: dict[str, int] = Field(default_factory=dict)
    """A type that no setting of ours has."""


NEXT_ITEM = ModelEntry(NextItemSettings, "toy.models:build_next_item")
LAST_LAYER = ModelEntry(LastLayerSettings, "toy.models:build_last_layer")
NO_SETTINGS = ModelEntry(str, "toy.models:build_next_item")
NO_BUILDER = ModelEntry(NoBuilderSettings, "toy.models:nothing_of_this_name")
NO_MODEL = ModelEntry(NoModelSettings, "toy.models:build_no_model")
'''

MODELS = """
import numpy as np
import torch
from torch import nn

from crossan.train.layers.frozen_towers import FrozenTowers
from crossan.train.models.item_encoder import ItemEncoder
from crossan.train.models.sequence_model import SequenceModel, make_sequence_encoder
from crossan.train.objectives import Gathers, ObjectiveEntry
from crossan.train.objectives.in_batch import InBatch
from crossan.train.objectives.step import prepare_batch


class NextItem(nn.Module):
    def __init__(self, counts, followers):
        super().__init__()
        self.register_buffer("counts", torch.from_numpy(counts.astype(np.float32)))
        self.register_buffer("followers", torch.from_numpy(followers))

    def base_scores(self):
        return self.counts / 1000

    def scores_after(self, history):
        gains = self.followers[int(history[-1])].numpy()
        rows = gains.nonzero()[0]
        return rows, gains[rows]


def build_next_item(settings, context):
    followers = np.zeros((len(context.counts),) * 2, dtype=np.float32)
    seen = context.seen
    for user in range(len(seen.user_ids)):
        items = seen.sequence(user)[:-1]  # without the validation target
        np.add.at(followers, (items[:-1], items[1:]), settings.weight)
    return NextItem(context.counts, followers)


def build_no_model(settings, context):
    return nn.Linear(1, 1)  # a module, which nothing can rank by


class Mean(nn.Module):
    def forward(self, outputs, presence):
        return outputs.sum(dim=1) / presence.sum(dim=1, keepdim=True)


def make_mean(modality_count, width):
    return Mean()


def build_last_layer(settings, context):
    encoder = ItemEncoder(FrozenTowers(context.features.dims, settings.width), Mean())
    return SequenceModel(encoder, make_sequence_encoder(settings, context.input_length))


def make_doubled(context):
    def prepare(features, sequences, log_popularity):
        loss = prepare_batch(features, sequences, log_popularity)
        return lambda model: 2 * loss(model)

    return context.over_sequences(InBatch(context.log_popularity, prepare))


DOUBLED = ObjectiveEntry(make_doubled, lambda settings, trained, items: Gathers(trained))
"""

POINTS = """
[crossan.models]
next-item = toy.entries:NEXT_ITEM
last-layer = toy.entries:LAST_LAYER
no-settings = toy.entries:NO_SETTINGS
no-builder = toy.entries:NO_BUILDER
no-model = toy.entries:NO_MODEL
other-kind = toy.entries:NEXT_ITEM
not-there = toy.nowhere:ENTRY
{more}

[crossan.fusions]
mean = toy.models:make_mean

[crossan.objectives]
doubled = toy.models:DOUBLED
"""

QUICK = ("model.width=16", "optimiser.lr=0.01", "batch_size=32", "max_epochs=4")


def install(folder, more=""):
    """Lay the distribution out as an installer would."""
    (folder / "toy").mkdir(parents=True)
    (folder / "toy" / "__init__.py").touch()
    (folder / "toy" / "entries.py").write_text(ENTRIES)
    (folder / "toy" / "models.py").write_text(MODELS)
    (folder / "toy-1.0.dist-info").mkdir()
    (folder / "toy-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n"
    )
    (folder / "toy-1.0.dist-info" / "entry_points.txt").write_text(POINTS.format(more=more))


def forget():
    """Have the next look at distributions be a fresh one, as in another process."""
    plugins.plugin_names.cache_clear()
    models._loads.cache_clear()


@pytest.fixture
def toy(tmp_path, monkeypatch):
    install(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    forget()
    yield
    monkeypatch.undo()
    forget()


@pytest.fixture
def place(tmp_path):
    return write_small(tmp_path)


def train(place, *more, out="r", settings=QUICK):
    return json.loads(train_in(place, settings, *more, out=out).stdout.splitlines()[-1])


def test_the_kinds_are_known_without_loading_them(toy):
    assert {"crossan", "next-item", "last-layer", "not-there"} <= set(model_kinds())


def test_a_counting_model_runs_like_our_own(toy, place):
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


def test_a_trained_model_runs_like_our_own(toy, place):
    result = train(place, "--model", "last-layer")
    assert result["model"] == "last-layer"
    assert result["valid"]["hr@10"] > result["popularity"]["valid"]["hr@10"]
    assert json.loads(run(evaluate, place / "r", "--json").stdout)["valid"] == result["valid"]


def test_a_fusion_takes_the_place_of_momef(toy, place):
    plain, mean = (
        train(place, "--model", "frozen", *more, out=out)
        for out, more in (("plain", ()), ("mean", ("--set", "model.fusion=mean")))
    )
    momef = 2 * (16 * 16 + 16) + 2 * 16 * 2 + 2
    assert plain["trainable_parameters"] - mean["trainable_parameters"] == momef


def test_an_objective_is_minimised(toy, place):
    def losses(out):
        lines = (place / out / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["loss"] for line in lines]

    still = (
        *QUICK[:1],
        "optimiser.lr=1e-12",
        "optimiser.adapter_lr=1e-12",
        "max_epochs=1",
        "model.dropout=0",
    )
    train(place, "--model", "frozen", out="plain", settings=still)
    train(
        place, "--model", "frozen", "--set", "objective.kind=doubled", out="twice", settings=still
    )
    assert losses("twice") == pytest.approx([2 * loss for loss in losses("plain")], rel=1e-5)


def test_its_settings_are_printed_like_ours(toy):
    printed = run(settings_command, "next-item")
    assert "model.weight" in printed.stdout
    assert "What one follower counts beside popularity" in printed.stdout


def test_a_broken_package_breaks_only_its_own_kinds(toy, place):
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
        (("--model", "not-there"), r"crossan\.models: not-there = toy\.nowhere:ENTRY of toy could not be loaded: ModuleNotFoundError"),
        (("--model", "no-settings"), r"expected a ModelEntry with settings for the model 'no-settings'"),
        (("--model", "no-builder"), r"expected the model 'no-builder' to be built by 'package\.module:function', got 'toy\.models:nothing_of_this_name'"),
        (("--model", "no-model"), r"expected the model 'no-model' to be a SequenceModel, or an nn\.Module that is a CountingModel, got one of Linear"),
        (("--model", "other-kind"), r"expected the field 'kind' of NextItemSettings to have the name of its entry point, 'other-kind', got 'next-item'"),
        (("--set", "model.fusion=men"), r"model\.fusion: .*did you mean 'mean'\?"),
        (("--set", "objective.kind=double"), r"objective\.kind: .*did you mean 'doubled'\?"),
        (("--model", "next-item", "--set", "model.weigt=2"), r"did you mean 'model\.weight'\?"),
        (("--model", "next-item", "--set", "model.weight=0"), r"model\.weight: Input should be greater than 0"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(toy, place, arguments, message):
    with pytest.raises(ConfigError, match=message) as refused:
        train(place, *arguments, settings=())
    assert refused.value.exit_code == 2
    assert not (place / "r").exists()


def test_a_name_of_ours_cannot_be_taken(tmp_path, place, monkeypatch):
    install(tmp_path / "site", more="sasrec = toy.entries:NEXT_ITEM")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    forget()
    with pytest.raises(
        ConfigError, match="sasrec = toy.entries:NEXT_ITEM of toy is also brought by crossan itself"
    ) as refused:
        train(place, "--model", "sasrec", settings=())
    assert refused.value.remedy == "pip uninstall toy"
    monkeypatch.undo()
    forget()
