"""Every recipe runs at sample scale, and is the run that its row asks for."""

import json
from dataclasses import replace

import pytest
import torch

from crossan.cache_schema.errors import UsageError
from crossan.train.recipes import all_recipes, catalogue
from crossan.train.recipes.cli import run as run_recipe
from crossan.train.recipes.sample import Sample, prepare_other_titles
from crossan.train.recipes.state import is_built
from crossan.train.record.run_folder import RunFolder
from crossan.train.settings import RunSettings
from support.commands import attempt, run

BUILT = [recipe for recipe in all_recipes().values() if is_built(recipe)]


def _of_one_training():
    """Return the recipes of one training; of those of quality none that is the same on the sample.

    The sample has one store of titles for whatever a row reads, and one dataset.
    """
    seen, recipes = [], []
    for recipe in BUILT:
        run_on_sample = (recipe.settings, len(recipe.stores or recipe.modality))
        is_of_quality = recipe.name.startswith("quality/")
        if is_of_quality and (recipe.of or recipe.refits or run_on_sample in seen):
            continue
        seen.append(run_on_sample)
        recipes.append(recipe)
    return recipes


def _marks(recipe):
    """Return the marks of a recipe: of those whose backbones are trained, one is tried each time."""
    is_long = recipe.kind == "fine-tuned" and recipe.name != "table4/lora"
    return [pytest.mark.exhaustive] if is_long else []


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small models are slower on several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def arguments(sampled, tmp_path):
    return ("--scale", "sample", "--sample", sampled, "--out", tmp_path / "r", "--device", "cpu")


@pytest.mark.timeout(1_200)  # the first one makes the sample and its stores
@pytest.mark.parametrize(
    "recipe", [pytest.param(each, id=each.name, marks=_marks(each)) for each in _of_one_training()]
)
def test_it_runs_on_the_sample(recipe, arguments, sampled, tmp_path):
    if len(recipe.stores) > 1:
        prepare_other_titles(Sample(sampled))  # whose command needs a real stderr
    printed = run(run_recipe, recipe.name, *arguments, "--json").stdout.splitlines()[-1]
    folder = RunFolder(tmp_path / "r")
    result = folder.result()
    assert result["model"] == recipe.kind
    assert 0.0 <= result["test"]["hr@10"] <= 1.0
    settings = folder.settings()
    found = {name: value_of(settings, name) for name in recipe.defining}
    expected = {name: recipe.settings[name] for name in recipe.defining}
    if "model.bottleneck_dim" in expected:  # the widths of a curve, a 32nd of them
        expected["model.bottleneck_dim"] //= 32
    if recipe.reads_media:
        backbones = json.loads((tmp_path / "r" / "backbones.lock.json").read_text())["backbones"]
        assert {*backbones} == {*recipe.modality}
    assert found == expected
    record = json.loads((tmp_path / "r" / "recipe.json").read_text())
    assert json.loads(printed) == {"result": result, "recipe": record}
    assert (record["name"], record["scale"]) == (recipe.name, "sample")
    assert record["verdict"]["outcome"] == "none"  # the sample is worth no verdict


def test_one_without_its_model_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    unbuilt = replace(all_recipes()["table3/50k-TI"], kind="none-such")
    monkeypatch.setattr(catalogue, "all_recipes", lambda: {unbuilt.name: unbuilt})
    result = attempt(run_recipe, unbuilt.name, "--scale", "sample", "--sample", tmp_path / "s",
                     "--out", tmp_path / "r")  # fmt: skip
    assert isinstance(result.exception, UsageError)
    assert "which is not built" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def value_of(settings: RunSettings, dotted: str):
    """Return a setting as JSON has it."""
    value = settings.model_dump(mode="json", serialize_as_any=True)
    for name in dotted.split("."):
        value = value[name]
    return value
