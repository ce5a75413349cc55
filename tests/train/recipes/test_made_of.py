"""Recipes that are made of other runs, or that refit one, and the stores that recipes name."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import crossan.api
from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import Modality
from crossan.common.stores import create_store, store_folder
from crossan.train.cli import train
from crossan.train.recipes import all_recipes, find_recipe, made_of
from crossan.train.recipes.catalogue import sources_of
from crossan.train.recipes.cli import copy, extract, show
from crossan.train.recipes.cli import run as run_recipe
from crossan.train.recipes.extraction import named_stores
from crossan.train.recipes.made_of import Workplace, members_of, run_folder
from crossan.train.recipes.recipe import Recipe
from crossan.train.record.reading import read_settings
from support.commands import attempt, run

KEPT = (0, 2, 4, 6)
"""Layers of the store of MiniLM, which has six above its embeddings."""


@pytest.fixture(autouse=True)
def one_thread():
    """Small models are slower on several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def steps(monkeypatch):
    """Run the commands of a recipe in this process; return them as they were given."""
    commands: list[list[str]] = []

    def step(command):
        commands.append(list(command))
        program, *words = command
        if program == "crossan-train":
            run(train, *words)
        else:
            assert [program, *words[:2]] == ["crossan", "recipe", "run"]
            run(run_recipe, *words[2:])

    monkeypatch.setattr(made_of, "run_step", step)
    return commands


def on_sample(sampled):
    return ("--scale", "sample", "--sample", sampled, "--device", "cpu")


def test_a_refit_of_an_ensemble_s_hybrid_makes_every_run_that_it_needs_and_none_twice(
    sampled, steps, tmp_path
):
    out = tmp_path / "runs" / "ensemble-seed0"
    printed = run(run_recipe, "quality/ensemble-refit", *on_sample(sampled), "--out", out, "--json")
    runs = [tmp_path / "runs" / f"best-seed{seed}" for seed in (0, 1)]
    assert [read_settings(each).seed for each in runs] == [0, 1]
    assert [base.run for base in read_settings(out).model.of] == [str(each) for each in runs]
    refits = [out / "refit", *(each / "refit" for each in runs)]
    assert {read_settings(each).refit for each in refits} == {"validation"}
    record = json.loads((out / "refit" / "recipe.json").read_text())
    assert record["name"] == "quality/ensemble-refit"
    assert record["verdict"]["outcome"] == "none"
    assert "valid" not in record["evaluated"]
    assert record["evaluated"]["refit"] == "validation"
    assert json.loads(printed.stdout.splitlines()[-1])["result"] == record["evaluated"]
    # The run that was judged keeps the recipe that it followed, and its figures.
    assert json.loads((out / "recipe.json").read_text())["name"] == "quality/ensemble"
    made = [command[3] for command in steps if command[0] == "crossan"]
    assert made == ["quality/best", "quality/best", "quality/ensemble"]

    steps.clear()
    run(run_recipe, "quality/best-refit", *on_sample(sampled), "--out", runs[0])
    assert [command[0] for command in steps] == ["crossan-train"]  # which finds the refit finished
    assert json.loads((runs[0] / "refit" / "recipe.json").read_text())["evaluated"]["test"]


def place_of(runs, scale="paper"):
    return Workplace(runs=runs, seed=3, options=(), device="cpu", scale=scale)


def test_a_recipe_that_is_named_twice_has_its_second_run_by_the_next_seed(tmp_path):
    members = members_of(find_recipe("quality/ensemble"), place_of(tmp_path))
    assert [(recipe.name, seed, folder.name) for recipe, seed, folder in members] == [
        ("quality/best", 3, "best-seed3"),
        ("quality/best", 4, "best-seed4"),
    ]


def finish(folder: Path):
    folder.mkdir()
    (folder / "result.json").write_text("{}")


def test_a_run_that_another_row_of_the_table_has_finished_is_taken_for_the_same_row(tmp_path):
    best, refit = find_recipe("quality/best"), find_recipe("quality/best-refit")
    other = tmp_path / f"{best.same_run.partition('/')[2]}-seed0"
    assert run_folder(tmp_path, best, 0) == tmp_path / "best-seed0"
    finish(other)
    assert run_folder(tmp_path, best, 0) == run_folder(tmp_path, refit, 0) == other
    finish(tmp_path / "best-seed0")
    assert run_folder(tmp_path, best, 0) == tmp_path / "best-seed0"


def test_a_run_in_the_place_of_another_is_refused_with_what_differs(sampled, steps, tmp_path):
    run(
        run_recipe, "quality/minilm-adapters", *on_sample(sampled), "--out",
        tmp_path / "best-seed3", "--seed", "4",
    )  # fmt: skip
    with pytest.raises(UsageError) as refused:
        made_of.run_members(find_recipe("quality/best-hybrid"), place_of(tmp_path))
    assert "expected a run of quality/best, found another" in str(refused.value)
    assert "model.id_embedding is False, not True" in str(refused.value)
    assert "seed is 4, not 3" in str(refused.value)
    assert steps == []


@pytest.mark.parametrize("name", ["quality/ensemble", "quality/best-refit"])
def test_one_training_is_not_taken_for_a_recipe_of_several_runs(name, tmp_path):
    result = attempt(train, "--recipe", name, "--dataset", tmp_path, "--out", tmp_path / "r")
    assert isinstance(result.exception, UsageError)
    assert "expected a recipe of one training" in str(result.exception)
    assert result.exception.remedy == f"crossan recipe run {name} --out FOLDER"
    result = attempt(copy, name, tmp_path / "config.toml")
    assert "expected a recipe of one training" in str(result.exception)
    with pytest.raises(UsageError, match="expected a recipe of one training"):
        crossan.api.train(dataset=tmp_path, out=tmp_path / "r", recipe=name)
    assert list(tmp_path.iterdir()) == []


def test_a_refit_has_the_settings_of_its_run_and_no_others(steps, tmp_path):
    words = ("--dataset", tmp_path, "--out", tmp_path / "r", "--set", "batch_size=7")
    result = attempt(run_recipe, "quality/best-refit", *words)
    assert "expected neither --set nor --config beside a refit" in str(result.exception)
    assert steps == []


def test_ranks_are_refused_before_each_of_them_runs_the_commands(steps, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = attempt(run_recipe, "quality/best-hybrid", "--dataset", tmp_path, "--out", "r")
    assert "expected one process, found WORLD_SIZE=2" in str(result.exception)
    assert steps == []


def write_store(cache, backbone, layers, dim, pooling="mean"):
    identity = StoreIdentity(
        modality=Modality.TEXT, backbone={"id": backbone}, inputs={},
        capture={"layers": list(layers), "pooling": pooling}, dim=dim,
    )  # fmt: skip
    folder = store_folder(cache, "small", identity)
    create_store(folder, identity, np.zeros((4, len(layers), dim), np.float32))
    return folder


HUB = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.mark.parametrize("backbone", [HUB, "local/local-bert"])
def test_stores_are_known_by_what_they_hold_whatever_lies_beside_them(backbone, tmp_path):
    minilm = write_store(tmp_path, backbone, KEPT, 384)
    tf_idf = write_store(tmp_path, "tf-idf", range(4), 256, pooling="unknown")
    write_store(tmp_path, "tf-idf", (0, 1), 256, pooling="unknown")
    write_store(tmp_path, "local/local-bert", range(7), 384)
    write_store(tmp_path, "local/local-bert", KEPT, 128)
    write_store(tmp_path, "local/local-bert", KEPT, 384, pooling="cls")
    write_store(tmp_path, "local/local-bert", range(4), 256, pooling="unknown")  # no TF-IDF
    assert named_stores(find_recipe("quality/best"), tmp_path, "small") == [minilm]
    assert named_stores(find_recipe("quality/two-stores"), tmp_path, "small") == [minilm, tf_idf]
    assert named_stores(find_recipe("table3/50k-TI"), tmp_path, "small") == []


def test_what_a_cache_lacks_is_shown_with_the_command_that_makes_it(tmp_path):
    described = {
        "format_version": 1, "name": "small", "source_format": "t", "licence": "l", "digest": "0",
        "counts": {"users": 12_076, "items": 20_825, "interactions": 85_211},
    }  # fmt: skip
    (tmp_path / "dataset.json").write_text(json.dumps(described))
    cache = tmp_path / "cache"
    write_store(cache, HUB, KEPT, 384)
    damaged = write_store(cache, "local/local-bert", KEPT, 128)
    (damaged / "store.json").write_text("{")

    def shown(name):
        words = ("--dataset", tmp_path, "--cache", cache, "--json")
        record = json.loads(run(show, name, *words).stdout)
        return record["state"], record["missing"]

    assert shown("quality/sci-best-hybrid-refit") == ("ready", [])
    made_by = "python tests/benchmarks/title_states.py --dataset DATASET --cache CACHE"
    missing = f"text features, by tf-idf (of the titles alone): {made_by} --layers 4"
    assert shown("quality/sci-two-stores") == ("needs data", [missing])


def test_a_store_that_is_missing_is_named_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(UsageError, match=r"text store by sentence-transformers/all-MiniLM-L6-v2 with"
                       r" layers 0,2,4,6 of 384 numbers in .*, found none") as refused:  # fmt: skip
        named_stores(find_recipe("quality/best"), tmp_path, "small")
    assert refused.value.remedy == (
        f"crossan recipe extract quality/best --dataset D --cache {tmp_path}"
    )
    write_store(tmp_path, HUB, KEPT, 384)
    write_store(tmp_path, "local/local-bert", KEPT, 384)
    with pytest.raises(UsageError, match="found 2: ") as several:
        named_stores(find_recipe("quality/best"), tmp_path, "small")
    assert "--store FOLDER" in several.value.remedy


@pytest.mark.parametrize("name", ["quality/two-stores", "quality/sci-ensemble-refit"])
def test_stores_are_made_by_the_backbone_that_the_recipe_names(name, tmp_path):
    printed = run(
        extract, name, "--dataset", "a b", "--cache", tmp_path, "--print", "--", "--backbone", "f"
    ).stdout.splitlines()
    minilm = (
        f"crossan-extract --modality text --dataset 'a b' --cache {tmp_path} --backbone {HUB}"
        " --layers 0,2,4,6 --pooling mean --backbone f"
    )
    assert printed[0] == minilm  # of two --backbone the second counts
    places = f"--dataset 'a b' --cache {tmp_path}"
    tf_idf = f"python tests/benchmarks/title_states.py {places} --layers 4"
    assert printed[1:] == ([tf_idf] if name == "quality/two-stores" else [])


def test_stores_that_are_read_together_keep_as_many_layers():
    """Layer i of one tower meets layer i of the others in a gate."""
    several = [recipe for recipe in all_recipes().values() if len(recipe.stores) > 1]
    assert several
    for recipe in several:
        assert len({len(source.layers) for source in recipe.stores}) == 1, recipe.name


def test_both_datasets_have_the_same_rows_with_the_same_settings():
    def rows(dataset: str) -> list[tuple[object, ...]]:
        recipes = [
            recipe
            for recipe in all_recipes().values()
            if recipe.name.startswith("quality/") and recipe.dataset.key == dataset
        ]
        return [row_of(recipe) for recipe in recipes]

    def row_of(recipe: Recipe) -> tuple[object, ...]:
        of = tuple(name.replace("sci-", "") for name in recipe.of)
        refits = (recipe.refits or "").replace("sci-", "")
        return recipe.row, recipe.settings, recipe.stores, of, refits, sources_of(recipe)

    assert rows("50k") == rows("sci")
