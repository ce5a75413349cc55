"""crossan recipe ls, show, cp and extract, crossan-train --recipe, and the page that lists all."""

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from crossan.cache_schema.errors import ConfigError, UsageError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import Modality
from crossan.common.config import load_settings, settings_with
from crossan.common.stores import create_store, store_folder
from crossan.common.umbrella import build_app
from crossan.train.cli import train
from crossan.train.recipes import all_recipes, catalogue, find_recipe, sample
from crossan.train.recipes.cli import app
from crossan.train.recipes.extraction import StepError, extract_commands, run_step, text_store
from crossan.train.recipes.page import recipes_page
from crossan.train.recipes.running import Request, settings_of
from crossan.train.recipes.state import is_built
from crossan.train.recipes.writing import default_settings
from crossan.train.record.run_folder import RunFolder
from crossan.train.settings import RunSettings
from crossan.train.sweep.points import drawn_points, grid_points
from crossan.train.sweep.settings import SweepSettings
from support.commands import attempt, run
from support.fabricated import write_small

PAGE = Path(__file__).parents[3] / "docs" / "recipes.md"
SMALL = ("model.bottleneck_dim=4", "model.width=16", "batch_size=32", "max_epochs=1")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_small(tmp_path_factory.mktemp("place"))


def recipe(*words):
    """Run ``crossan recipe``; return what it prints."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_page_is_up_to_date():
    remedy = "run: crossan recipe ls --markdown > docs/recipes.md"
    assert PAGE.read_text(encoding="utf-8") == recipes_page(), remedy
    assert recipe("ls", "--markdown") == recipes_page()


def test_the_list_has_every_recipe_and_fits_a_terminal():
    lines = recipe("ls").splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == list(all_recipes())
    assert max(map(len, lines)) <= 80
    assert "* our own figure" in lines[-1]


def test_the_list_is_filtered_and_has_all_as_json():
    listed = json.loads(recipe("ls", "table5/50k", "--json"))["recipes"]
    assert [one["name"].partition("-")[2] for one in listed] == [
        "momef", "dynamic-gate", "static-gate", "concat",
    ]  # fmt: skip
    first = listed[0]
    assert first["figures"]["hr@20"] == 0.1224
    assert first["protocol"] == "leave-last-out"
    assert first["state"] == "needs data"
    assert len(first["missing"]) == 5  # the dataset, and four kinds of features
    assert first["tolerances"]["hr@10"] == pytest.approx(0.00344, abs=1e-5)


def test_what_a_cache_has_is_no_longer_missing(place, tmp_path):
    described = json.loads((place / "d" / "dataset.json").read_text())
    described["counts"] = {"users": 50_000, "items": 19_220, "interactions": 359_708}
    (tmp_path / "dataset.json").write_text(json.dumps(described))
    words = ("--dataset", tmp_path, "--cache", place / "c", "--json")
    states = {one["name"]: one for one in json.loads(recipe("ls", "table3/50k", *words))["recipes"]}
    assert states["table3/50k-TI"]["state"] == "ready"
    assert states["table3/50k-TIA"]["missing"] == [
        "audio features, by MIT/ast-finetuned-audioset-10-10-0.4593 (BSD-3-Clause)"
    ]


@pytest.mark.parametrize("name", ["table3/50k-TIVA", "table5/100k-momef", "baselines/popularity"])
def test_a_copy_is_read_back_as_the_recipe(name, tmp_path):
    recipe("cp", name, tmp_path / "config.toml")
    dataset = load_settings(
        RunSettings, files=[tmp_path / "config.toml"], assignments=["data.dataset=DATASET"],
        environment={},
    )  # fmt: skip
    assert dataset == default_settings(find_recipe(name))
    assert "defines the row" in (tmp_path / "config.toml").read_text()


def test_a_copy_replaces_a_copy_and_nothing_else(tmp_path):
    file = tmp_path / "config.toml"
    recipe("cp", "table3/50k-TIVA", file)
    recipe("cp", "table3/50k-TI", file)
    assert "table3/50k-TI:" in file.read_text()
    file.write_text("mine = 1\n")
    with pytest.raises(UsageError, match="found a file that this command did not write"):
        recipe("cp", "table3/50k-TIVA", file)
    assert file.read_text() == "mine = 1\n"


def test_the_search_space_leaves_what_defines_the_row(tmp_path):
    recipe("cp", "table7/50k-k3", tmp_path / "plan.toml", "--sweep")
    plan = load_settings(SweepSettings, files=[tmp_path / "plan.toml"], environment={})
    assert "model.top_k" not in plan.grid
    assert plan.grid["model.bottleneck_dim"] == (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
    assert plan.grid["batch_size"] == (32, 64, 128, 256, 512, 1024)
    assert plan.range["optimiser.lr"] == "1e-5:1e-3:log"
    assert (plan.sampler, plan.trials) == ("random", 32)


@pytest.mark.parametrize(
    "name",
    ["table3/100k-TIVA", "table3/50k-iisan", "table3/50k-fine-tuned", "table4/adapter",
     "table3/50k-lora", "baselines/sasrec", "baselines/frozen"],
)  # fmt: skip
def test_every_point_of_a_search_space_is_a_run(name, tmp_path):
    recipe("cp", name, tmp_path / "plan.toml", "--sweep")
    plan = load_settings(SweepSettings, files=[tmp_path / "plan.toml"], environment={})
    base = default_settings(find_recipe(name))
    points = drawn_points(plan)
    assert len(points) == 32
    for point in points:
        assert settings_with(base, point, "plan").model.kind == base.model.kind


# The grids of the published code, of which MMGCN's weight of squares changes nothing.
GRIDS = {"mmgcn": 5, "grcn": 25, "bm3": 8, "freedom": 8, "mgcn": 3, "mhcr": 54}


@pytest.mark.parametrize(
    "kind", [kind for kind in GRIDS if is_built(find_recipe(f"table8/50k-{kind}"))]
)
def test_the_search_space_of_a_graph_model_is_its_authors_grid(kind, tmp_path):
    name = f"table8/50k-{kind}"
    recipe("cp", name, tmp_path / "plan.toml", "--sweep")
    plan = load_settings(SweepSettings, files=[tmp_path / "plan.toml"], environment={})
    assert (plan.sampler, plan.range, plan.trials) == ("grid", {}, None)
    base = default_settings(find_recipe(name))
    points = grid_points(plan)
    assert len(points) == GRIDS[kind]
    digests = {
        settings_with(base, point, "plan").model_dump_json(serialize_as_any=True)
        for point in points
    }
    assert len(digests) == len(points)
    assert "reports the point that is best by test" in (tmp_path / "plan.toml").read_text().replace(
        "\n# ", " "
    )


def test_the_commands_of_the_howto_have_the_options_that_it_gives_them():
    page = (PAGE.parent / "howto" / "reproduce-the-paper.md").read_text(encoding="utf-8")
    lines = re.findall(r"^    (crossan .*)$", page, flags=re.MULTILINE)
    assert len(lines) >= 8
    for line in lines:
        command, words = typer.main.get_command(build_app()), shlex.split(line)[1:]
        while hasattr(command, "commands"):
            command, words = command.commands[words[0]], words[1:]
        command.make_context(line, words)


def test_a_curve_is_a_sweep_of_one_setting(tmp_path):
    recipe("cp", "fig5/50k-width", tmp_path / "plan.toml", "--sweep")
    plan = load_settings(SweepSettings, files=[tmp_path / "plan.toml"], environment={})
    assert list(plan.grid) == ["model.bottleneck_dim"]
    with pytest.raises(UsageError, match=r"found one of optimiser.lr, optimiser.adapter_lr"):
        recipe("cp", "fig5/50k-lr", tmp_path / "plan2.toml", "--sweep")
    with pytest.raises(UsageError, match="for which the paper searches nothing"):
        recipe("cp", "baselines/popularity", tmp_path / "plan2.toml", "--sweep")


def test_show_tells_what_is_missing_and_where_it_is():
    shown = recipe("show", "table3/50k-TIVA")
    for words in (
        "hr@10 0.0847 +- 0.0034",
        "https://github.com/westlake-repl/MicroLens",
        "MCG-NJU/videomae-base (CC-BY-NC-4.0",
        "crossan-extract --modality video,audio --dataset DATASET --cache CACHE",
        'kind = "crossan"  # defines the row',
    ):
        assert words in shown


def test_a_recipe_without_its_model_shows_its_figures_and_no_settings(monkeypatch):
    unbuilt = replace(find_recipe("table3/50k-lora"), kind="none-such")
    monkeypatch.setattr(catalogue, "all_recipes", lambda: {unbuilt.name: unbuilt})
    shown = recipe("show", unbuilt.name)
    assert "model not built" in shown
    assert "hr@10 0.0644" in shown
    assert "[model]" not in shown
    with pytest.raises(UsageError, match=r"model\.kind=none-such\), which is not built"):
        recipe("cp", unbuilt.name, "config.toml")


def test_a_recipe_that_trains_its_backbones_extracts_nothing(place):
    shown = recipe("show", "table3/50k-adapter")
    assert "features by" not in shown
    assert "extract" not in shown
    with pytest.raises(UsageError, match="found Houlsby adapters, which reads none"):
        recipe("extract", "table3/50k-adapter", "--dataset", "d", "--cache", place, "--print")


def test_iisan_s_titles_are_cut_at_30_tokens():
    commands = extract_commands(find_recipe("table3/50k-iisan"), Path("d"), Path("c"))
    assert commands == [
        ["crossan-extract", "--modality", "text", "--dataset", "d", "--cache", "c",
         "--max-length", "30"],
        ["crossan-extract", "--modality", "image", "--dataset", "d", "--cache", "c"],
    ]  # fmt: skip


def test_extractions_are_printed_with_options_of_one_s_own(tmp_path):
    words = ("--dataset", "d", "--cache", tmp_path, "--print")
    printed = recipe("extract", "table3/50k-TIVA", *words, "--", "--device", "cuda").splitlines()
    assert len(printed) == 3
    assert all(line.endswith("--device cuda") for line in printed)
    with pytest.raises(UsageError, match="found SASRec, which reads none"):
        recipe("extract", "baselines/sasrec", *words)


def test_a_step_that_fails_ends_with_its_own_exit_code(tmp_path):
    with pytest.raises(StepError, match="ended with exit code 2: crossan data check") as caught:
        run_step(["crossan", "data", "check", str(tmp_path)])
    assert caught.value.exit_code == 2


def write_titles(cache, *lengths):
    import numpy as np

    for length in lengths:
        identity = StoreIdentity(
            modality=Modality.TEXT, backbone={"id": "b"}, inputs={"max_length": length},
            capture={"layers": [0, 1], "pooling": "cls"}, dim=4,
        )  # fmt: skip
        create_store(
            store_folder(cache, "small", identity), identity, np.zeros((4, 2, 4), np.float32)
        )


@pytest.mark.parametrize(
    ("lengths", "iisan", "crossan"),
    [((30, 512), 30, 512), ((512,), "error", None), ((30,), 30, None)],
)
def test_the_titles_that_fit_are_chosen(lengths, iisan, crossan, tmp_path):
    from crossan.common.stores.folders import read_identity

    write_titles(tmp_path, *lengths)

    def chosen(name):
        store = text_store(find_recipe(name), tmp_path, "small")
        return None if store is None else read_identity(store).inputs["max_length"]

    assert chosen("table3/50k-TIVA") == crossan
    if iisan == "error":
        with pytest.raises(UsageError, match="expected titles cut at 30 tokens, found .* 512"):
            chosen("table3/50k-iisan")
    else:
        assert chosen("table3/50k-iisan") == iisan


def settings_by(flags=None, **given):
    request = Request({"--dataset": "d", **(flags or {})}, **given)
    return settings_of(find_recipe("table7/100k-k1"), request)


def test_everything_that_a_user_gives_wins_over_a_recipe(tmp_path, monkeypatch):
    assert settings_by().model.top_k == 1
    file = tmp_path / "c.toml"
    file.write_text("batch_size = 7\n[model]\ntop_k = 2\n")
    assert settings_by(config=[file]).model.top_k == 2
    assert settings_by(config=[file]).batch_size == 7
    assert settings_by(config=[file]).max_epochs == 200  # the recipe's
    monkeypatch.setenv("CROSSAN_MODEL__TOP_K", "3")
    assert settings_by(config=[file]).model.top_k == 3
    assert settings_by(config=[file], assignments=["model.top_k=4"]).model.top_k == 4
    assert settings_by(flags={"--batch-size": 9}, config=[file]).batch_size == 9


def test_a_setting_that_does_not_fit_names_the_recipe():
    with pytest.raises(ConfigError, match="recipe table7/100k-k1"):
        settings_by(flags={"--model": "sasrec"})


def test_training_by_a_recipe_records_it_and_gives_no_verdict_of_other_data(place, tmp_path):
    given = [word for setting in SMALL for word in ("--set", setting)]
    result = run(
        train, "--recipe", "table3/50k-TI", "--dataset", place / "d", "--cache", place / "c",
        "--out", tmp_path / "r", "--device", "cpu", *given,
    )  # fmt: skip
    record = json.loads((tmp_path / "r" / "recipe.json").read_text())
    assert (record["name"], record["scale"]) == ("table3/50k-TI", "paper")
    assert record["verdict"]["outcome"] == "none"
    assert "another dataset than MicroLens-50K" in record["verdict"]["why"]
    assert "recipe table3/50k-TI: no verdict: another dataset" in result.stdout
    assert RunFolder(tmp_path / "r").settings().model.top_k == 2


def test_training_by_a_wrong_name_is_refused(place, tmp_path):
    result = attempt(train, "--recipe", "table3/50k-IT", "--dataset", place / "d",
                     "--out", tmp_path / "r", "--device", "cpu")  # fmt: skip
    assert "did you mean 'table3/50k-TI'" in str(result.exception)
    assert not (tmp_path / "r").exists()


def test_a_sample_that_was_interrupted_anywhere_goes_on_with_what_it_lacks(tmp_path, monkeypatch):
    """What each command leaves when it is interrupted is its folder with nothing of its own in it."""
    parts = {
        "data": ("dataset", ("dataset.json",)),
        "backbones": ("backbones", tuple(modality.value for modality in Modality)),
    }

    def finish(command):
        folder, names = parts.get(command[1], ("cache", ()))
        for name in names:
            made = tmp_path / "s" / folder / name
            made.mkdir(parents=True) if folder == "backbones" else made.touch()
        begun.append(folder)

    for interrupted in (["dataset"], ["dataset", "backbones"]):
        begun: list[str] = []
        shutil.rmtree(tmp_path / "s", ignore_errors=True)
        for folder in interrupted:
            (tmp_path / "s" / folder).mkdir(parents=True)
        monkeypatch.setattr(sample, "run_step", finish)
        sample.prepare_sample(tmp_path / "s")
        assert begun == ["dataset", "backbones", "cache"]
