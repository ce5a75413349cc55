"""``--model fine-tuned`` from titles and pictures to a result, with backbones of two layers."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from crossan.cache_schema.errors import DataError, IncompatibleError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.extract.backbones.cli import app as backbones_app
from crossan.extract.cli import extract
from crossan.train.cli import analyse, evaluate, train
from crossan.train.settings.kinds import _BUILT_IN as OURS
from support.commands import attempt, run, training
from support.distributions import HOWTO
from support.fabricated import make_sequences, write_rows, write_small
from support.outcomes import outcome
from support.stopping import Died, die_at_step
from support.tuned import checkpoint_of

ITEMS = [f"i{topic}{item}" for topic in range(4) for item in range(10)]
SETTINGS = (
    "model.width=16",
    "model.bottleneck_dim=8",
    "model.rank=4",
    "model.alpha=4",
    "model.chunk_size=16",
    "optimiser.lr=0.01",
    "optimiser.adapter_lr=0.01",
    "batch_size=32",
    "patience=20",
)
FULL = ("optimiser.adapter_lr=0.002",)
"""All weights at once want a smaller rate than a few new ones."""


def write_items(folder, *, lacking=("i00", "i15"), bare=()):
    """Write users who keep to a topic, whose titles name it and whose pictures have its colour."""
    random, paths = np.random.default_rng(3), {}
    (folder / "media").mkdir(parents=True)
    for item in ITEMS:
        colour = np.full((16, 16, 3), 60 * int(item[1]), np.uint8)
        noise = random.integers(0, 40, colour.shape, np.uint8)
        if item not in lacking and item not in bare:
            Image.fromarray(colour + noise).save(folder / "media" / f"{item}.png")
            paths[item] = str(folder / "media" / f"{item}.png")
    titles = {item: None if item in bare else f"topic{item[1]} {item}" for item in ITEMS}
    write_rows(folder / "d", make_sequences(), titles=titles, media={"image": paths})
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_items(tmp_path_factory.mktemp("tuned"))


@pytest.fixture
def runs(place, tmp_path):
    """A folder of its own to train in, with the dataset and the decoded inputs of all tests."""
    for name in ("d", "c"):
        (place / name).mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(place / name)
    return tmp_path


def backbones():
    return [
        f"model.{modality.value}={checkpoint_of(modality)}"
        for modality in (Modality.TEXT, Modality.IMAGE)
    ]


def tune(place, tuning, *more, out="r", epochs=2):
    chosen = [*SETTINGS, *(FULL if tuning == "full" else ()), *backbones()]
    settings = [*chosen, f"model.tuning={tuning}", f"max_epochs={epochs}"]
    arguments = training(place, settings, "--model", "fine-tuned", *more, out=out)
    return json.loads(run(train, *arguments).stdout.splitlines()[-1])


@pytest.mark.parametrize("tuning", ["full", "adapter", "lora"])
def test_a_run_that_died_and_was_resumed_ends_in_the_same_bytes(runs, tuning, monkeypatch):
    every = ("--set", "checkpoint.every_steps=2")
    tune(runs, tuning, *every, out="whole")
    with monkeypatch.context() as patch:
        die_at_step(patch, 8)
        with pytest.raises(Died):
            tune(runs, tuning, *every)
    tune(runs, tuning, *every, "--resume")
    assert outcome(runs / "r") == outcome(runs / "whole")


def hide_topics(folder):
    """Write the same users over items whose topic is one word of seven; all pictures are alike."""
    random, words = np.random.default_rng(4), [a + b for a in "abcdefgh" for b in "ijklmnop"]
    titles = {}
    for item in ITEMS:
        title = random.choice(words, 6).tolist()
        title.insert(int(random.integers(7)), f"z{'abcd'[int(item[1])]}")
        titles[item] = " ".join(title)
    folder.mkdir(exist_ok=True)
    Image.fromarray(np.full((16, 16, 3), 99, np.uint8)).save(folder / "picture.png")
    pictures = dict.fromkeys(ITEMS, str(folder / "picture.png"))
    write_rows(folder / "d", make_sequences(), titles=titles, media={"image": pictures})
    return folder


@pytest.fixture(scope="module")
def hidden(tmp_path_factory):
    """A folder with such items, and the test HR@10 of what is trained on their frozen states."""
    place = hide_topics(tmp_path_factory.mktemp("hidden"))
    for modality in (Modality.TEXT, Modality.IMAGE):
        options = ("--modality", modality.value, "--backbone", checkpoint_of(modality))
        given = ("--dataset", place / "d", "--cache", place / "c", "--layers", "all")
        run(extract, *options, *given, "--device", "cpu", "--num-workers", "0")
    # Trained as the tuned ones are, which have no such defaults.
    alike = ("features.standardise=none", "objective.debias=all", "average_epochs=1")
    settings = [*SETTINGS, "model.fusion=concat", "model.dropout=0.1", *alike, "max_epochs=16"]
    arguments = training(place, settings, "--model", "frozen", out="frozen")
    return place, json.loads(run(train, *arguments).stdout.splitlines()[-1])["test"]["hr@10"]


@pytest.mark.slow
@pytest.mark.parametrize(("tuning", "rate"), [("full", 0.002), ("adapter", 0.01), ("lora", 0.01)])
def test_tuned_backbones_rank_no_worse_than_frozen_ones(hidden, tuning, rate):
    """The topic is a word among others, which a backbone of random weights hardly lets through."""
    place, frozen = hidden
    rates = (f"optimiser.adapter_lr={rate}", "optimiser.lr=0.003", "batch_size=16")
    shape = ("model.bottleneck_dim=32", "model.rank=8", "model.alpha=8", "model.chunk_size=64")
    given = [part for setting in (*rates, *shape) for part in ("--set", setting)]
    tuned = tune(place, tuning, *given, out=tuning, epochs=20)
    assert tuned["test"]["hr@10"] >= frozen
    assert tuned["valid"]["hr@10"] > 0.5  # ten of 40 items by chance are 0.25


def test_media_are_decoded_once(runs, monkeypatch):
    tune(runs, "adapter", epochs=1)
    before = sorted((runs / "c").rglob("*"))

    def refuse(*_):
        raise AssertionError("expected no medium to be decoded again")

    monkeypatch.setattr("crossan.extract.workers.item.decode_image", refuse)
    tune(runs, "lora", out="r2", epochs=1)
    assert sorted((runs / "c").rglob("*")) == before


def test_a_run_is_evaluated_as_it_was_trained(runs):
    result = tune(runs, "adapter", epochs=1)
    again = json.loads(run(evaluate, runs / "r", "--json").stdout.splitlines()[-1])
    assert again["test"] == result["test"]


def test_a_run_is_analysed_or_says_what_it_lacks(runs):
    tune(runs, "adapter", epochs=1)
    made = run(analyse, runs / "r", "--device", "cpu", "--json")
    analysis = json.loads(made.stdout.splitlines()[-1])
    assert analysis["model"] == "fine-tuned"
    parts = ("mutual_information", "gates", "experts", "layers", "efficiency")
    assert {part for part in parts if analysis[part] is None} == set(analysis["lacking"])


def test_other_weights_of_a_backbone_are_refused(runs, tmp_path):
    moved = tmp_path / "text"
    moved.mkdir()
    for file in checkpoint_of(Modality.TEXT).iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    tune(runs, "adapter", "--set", f"model.text={moved}", epochs=1)
    weights = moved / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(IncompatibleError, match="the backbones that the run was begun from.* text"):
        run(evaluate, runs / "r")


def test_a_run_is_not_resumed_on_other_titles(tmp_path):
    place = write_items(tmp_path / "own")
    tune(place, "adapter", epochs=1)
    titles = {item: f"another topic{item[1]} {item}" for item in ITEMS}
    write_rows(place / "e", make_sequences(), titles=titles)
    for name in ("items.parquet", "dataset.json"):
        (place / "d" / name).write_bytes((place / "e" / name).read_bytes())
    with pytest.raises((IncompatibleError, UsageError)):
        tune(place, "adapter", "--resume", epochs=2)


def test_items_without_a_modality_stop_a_run_or_are_left_out(tmp_path):
    place = write_items(tmp_path / "own", bare=("i03",))
    with pytest.raises(DataError, match="1 without any, first: i03"):
        tune(place, "adapter")
    assert tune(place, "adapter", "--drop-items", epochs=1)["items"] < len(ITEMS)


def test_a_modality_that_the_dataset_lacks_is_named(runs):
    with pytest.raises(UsageError, match="expected items with video"):
        tune(runs, "adapter", "--modality", "text,video")


def test_the_commands_of_the_howto_run(runs, monkeypatch):
    monkeypatch.chdir(runs)
    (block,) = re.findall(r"```sh\n(.*?)```", (HOWTO / "fine-tune-end-to-end.md").read_text(), re.S)
    commands = {"backbones": backbones_app, "evaluate": evaluate}
    lines = [shlex.split(line) for line in block.splitlines()]
    assert [line[0] for line in lines] == ["crossan", "crossan-train", "crossan"]
    init, trained, judged = lines
    assert CliRunner().invoke(commands[init[1]], init[2:]).exit_code == 0
    run(train, *trained[1:], "--device", "cpu")
    run(commands[judged[1]], *judged[2:])


BLOCKED = """
import sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"transformers", "tokenizers", "PIL", "av"} or name == "crossan.extract":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refusing())
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from crossan.train.cli import train
from support.commands import attempt, training

place = Path(sys.argv[2])
for kind in sys.argv[3:]:
    settings = ("model.width=16", "model.bottleneck_dim=8", "max_epochs=1")
    result = attempt(train, *training(place, settings, "--model", kind, out=f"r-{kind}"))
    print(kind, "trained" if result.exit_code == 0 else repr(result.exception))
"""


def test_no_other_kind_needs_a_backbone_and_this_one_says_what_it_lacks(tmp_path):
    """The door of `crossan.train.features.backbone_door` is shut for all kinds but one."""
    place = write_small(tmp_path)
    support = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", BLOCKED, support, str(place), *OURS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert done.returncode == 0, done.stderr
    assert said.keys() == OURS.keys()
    lacking = said.pop("fine-tuned")
    assert "expected finished runs" in said.pop("hybrid-of-runs")  # which need no backbone either
    assert set(said.values()) == {"trained"}, said
    assert "expected the libraries of backbones" in lacking


def test_an_installation_without_backbones_says_how_to_get_them(runs, monkeypatch):
    door = "crossan.train.features.backbone_door.entry_points"
    monkeypatch.setattr(door, lambda **_: ())
    result = attempt(train, *training(runs, (), "--model", "fine-tuned"))
    assert "found none" in str(result.exception)
    assert result.exception.remedy == "pip install 'crossan[extract]'"
