"""The conformance check: the built-in families hold, and each way to break a promise is found by its own check."""

import json
import sys
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from crossan.cache_schema.modality import Modality
from crossan.extract.backbones import Family, Processing, check_backbone, load_backbone
from crossan.extract.backbones.cli import app
from crossan.extract.backbones.families import FAMILIES
from crossan.extract.backbones.memory import peak_bytes
from support.misbehaving import prepare_by_process


class Plain(nn.Module):
    """A table of tokens and three linear blocks, kept simple so that one thing at a time can be made wrong."""

    def __init__(self, twist=lambda hidden: hidden, runs=1):
        super().__init__()
        self.width, self.twist, self.runs = 16, twist, runs
        self.tokens = nn.Embedding(2_000, 16)
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))

    def forward(self, input_ids, attention_mask=None):
        hidden = self.twist(self.tokens(input_ids))
        for block in self.layers:
            for _ in range(self.runs):
                hidden = block(hidden)
        return hidden


def prepare_where_only_we_can(title):
    return {"input_ids": np.array([1, 2])}


def make_model(folder, dtype, **options):
    torch.manual_seed(0)
    return Plain(**options).to(dtype)


def make_processing(folder, config, preparer, settings=None):
    return Processing(preparer, "pairs of letters", {"cut": 64} if settings is None else settings)


@pytest.fixture(scope="module")
def titles(tiny):
    """A preparer of titles that another process can load in a moment."""
    return load_backbone(Modality.TEXT, str(tiny["bert"][1]), device="cpu").preparer()


@pytest.fixture
def failing(tmp_path, monkeypatch, titles):
    """Return a function that checks a family of plain models and gives the names of what does not hold."""
    (tmp_path / "config.json").write_text('{"model_type": "plain"}')
    save_file({"none": torch.zeros(1)}, tmp_path / "model.safetensors")

    def failing(model=None, processing=None, **changes):
        options = {
            "load_model": partial(make_model, **(model or {})),
            "load_processing": partial(
                make_processing, **{"preparer": titles, **(processing or {})}
            ),
            "width": "width",
        }
        family = Family(model_type="plain", modality=Modality.TEXT, **options | changes)
        monkeypatch.setitem(FAMILIES, "plain", family)
        return {
            check.name: check.found
            for check in check_backbone(Modality.TEXT, str(tmp_path), device="cpu")
            if not check.holds
        }

    return failing


@pytest.mark.parametrize(
    "family", ["bert", "vit", "audio-spectrogram-transformer", "videomae", "vivit"]
)
def test_built_in_families_hold(tiny, family):
    modality, folder = tiny[family]
    checks = check_backbone(modality, str(folder), device="cpu")
    assert [check for check in checks if not check.holds] == []
    found = {check.name: check.found for check in checks}
    assert found["preparer works in another process"].endswith("without torch or transformers")
    assert "largest relative difference" in found["states equal output_hidden_states"]


def test_a_plain_family_holds(failing):
    assert failing() == {}


def test_rows_that_depend_on_the_batch(failing):
    found = failing(model={"twist": lambda hidden: hidden - hidden.mean(dim=0)})
    assert list(found) == ["rows independent of batch mates and padding"]


def test_padding_that_is_pooled(failing):
    found = failing(
        poolings=("all",),
        default_pooling="all",
        pool_functions={"all": lambda hidden, _: hidden.mean(dim=1)},
    )
    assert list(found) == ["rows independent of batch mates and padding"]
    assert "padded from 3 to " in found.popitem()[1]


def test_values_that_are_not_finite(failing):
    found = failing(model={"twist": lambda hidden: hidden.masked_fill(hidden > 2, torch.inf)})
    assert "values are NaN or infinite" in found["finite values"]


def test_blocks_that_run_twice(failing):
    found = failing(model={"runs": 2})
    assert (
        found["one forward per batch"] == "1 forward, 5 block runs for 4 kept layers"
    )  # it ends in the last one's first


def test_a_width_that_is_another(failing):
    found = failing(width="layers.0.weight.ndim")
    assert found == {"width and layers as declared": "2 wide, 3 blocks, states (4, 4, 16) float32"}


def test_blocks_that_are_not_all(tiny, monkeypatch):
    odd = Family(
        model_type="vit", modality=Modality.IMAGE, model_class="ViTModel", processor_class="ViTImageProcessorPil",
        has_pooler=True, blocks=lambda model: list(model.layers)[1:],
    )  # fmt: skip
    monkeypatch.setitem(FAMILIES, "vit", odd)
    found = {
        check.name: check
        for check in check_backbone(Modality.IMAGE, str(tiny["vit"][1]), device="cpu")
    }
    check = found["states equal output_hidden_states"]
    assert (check.holds, check.found) == (False, "12 captured, 13 given by transformers")


def test_a_preparer_that_cannot_be_pickled(failing, titles):
    found = failing(processing={"preparer": lambda title: titles(title)})
    assert list(found) == ["preparer works in another process"]
    assert found.popitem()[1].startswith("cannot be pickled: ")


def test_a_preparer_that_gives_something_else_elsewhere(failing):
    assert failing(processing={"preparer": prepare_by_process})[
        "preparer works in another process"
    ].startswith("other")


def test_a_preparer_that_no_other_process_can_import(failing, monkeypatch):
    monkeypatch.setattr(prepare_where_only_we_can, "__module__", "nowhere")
    monkeypatch.setitem(sys.modules, "nowhere", sys.modules[Plain.__module__])
    found = failing(processing={"preparer": prepare_where_only_we_can})[
        "preparer works in another process"
    ]
    assert found.startswith("another process cannot import nowhere")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"vocabulary": "/home/me/words.txt"}, "a path: /home/me"),
        ({"rate": float("nan")}, "not JSON"),
        ({1: {2}}, "not JSON"),
    ],
)
def test_an_identity_that_is_none(failing, settings, match):
    found = failing(processing={"settings": settings})
    assert found["identity is plain, stable and without paths"].startswith(match)


def test_an_identity_that_changes(failing, titles):
    numbers = iter(range(9))
    found = failing(
        load_processing=lambda folder, config: make_processing(
            folder, config, titles, {"n": next(numbers)}
        )
    )
    assert found == {"identity is plain, stable and without paths": "loaded again, it is another"}


def test_pooling_that_keeps_the_tokens(failing):
    views = {
        "first": lambda hidden, _: hidden[:, 0]
    }  # views: every kept layer's tokens live until the end
    found = failing(poolings=("first",), default_pooling="first", pool_functions=views)
    assert list(found) == ["capturing takes no more memory than a plain forward"]


def test_peak_bytes_counts_what_lives_together():
    def work():
        first = torch.zeros(1000)
        del first
        second = torch.zeros(500)
        view = second[10:].view(-1)  # no memory of its own
        return second + 1, view

    assert peak_bytes(work, torch.device("cpu")) == 4_000  # 1000 floats alone, then 500 + 500


def test_the_command_tells_by_its_exit_code(tiny, failing, tmp_path):
    folder = tiny["vit"][1]
    done = CliRunner().invoke(app, ["check", str(folder), "--json"])
    report = json.loads(done.stdout)
    assert (done.exit_code, report["holds"], report["modality"]) == (0, True, "image")
    assert {"name", "holds", "found"} == set(report["checks"][0])
    failing(width="layers.0.weight.ndim")
    done = CliRunner().invoke(
        app, ["check", str(tmp_path), "--modality", "text", "--device", "cpu"]
    )
    assert done.exit_code == 1
    assert "FAILS  width and layers as declared: 2 wide" in done.stdout
