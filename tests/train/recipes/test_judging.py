"""The verdict on a run: when there is one, and what it says."""

import json

import pytest

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import Modality
from crossan.common.config import settings_with, to_toml
from crossan.common.stores.pins import LOCK_FILE
from crossan.train.ranks.ranks import ALONE
from crossan.train.recipes import find_recipe
from crossan.train.recipes.judging import conclude, following
from crossan.train.recipes.printing import print_verdict
from crossan.train.recipes.writing import default_settings

NAME = "table3/50k-TI"


@pytest.fixture
def run(tmp_path):
    """Write a run that followed a recipe, as far as a verdict looks at it; return the verdict."""

    def write(counts=(50_000, 19_220, 359_708), name=NAME, scale="paper", changes=None, moved=0.0,
              users=50_000, items=19_099, backbone="google-bert/bert-base-uncased"):  # fmt: skip
        recipe = find_recipe(name)
        dataset, folder, store = tmp_path / "d", tmp_path / "r", tmp_path / "text"
        for made in (dataset, folder, store):
            made.mkdir()
        described = {
            "format_version": 1, "name": "ml", "source_format": "t", "licence": "l", "digest": "0",
            "counts": dict(zip(("users", "items", "interactions"), counts, strict=True)),
        }  # fmt: skip
        (dataset / "dataset.json").write_text(json.dumps(described))
        settings = settings_with(
            default_settings(recipe), {"data.dataset": str(dataset), **(changes or {})}, "test"
        )
        (folder / "config.toml").write_text(to_toml(settings))
        identity = StoreIdentity(
            modality=Modality.TEXT, backbone={"id": backbone}, inputs={},
            capture={"layers": [0], "pooling": "cls"}, dim=4,
        )  # fmt: skip
        (store / "store.json").write_text(json.dumps(identity.to_dict()))
        entry = {"store": str(store), "fingerprint": "0" * 64, "version": 1, "manifest": "0" * 64,
                 "layers": [0], "dim": 4}  # fmt: skip
        (folder / LOCK_FILE).write_text(json.dumps({"stores": {"text": entry}}))
        with following(recipe, folder, ALONE, scale):
            pass
        test = {name: figure + moved for name, figure in recipe.figures.items()}
        record = conclude(folder, {"users": users, "items": items, "test": test})
        assert record == json.loads((folder / "recipe.json").read_text())
        return record["verdict"]

    return write


def test_the_paper_s_own_figures_are_reproduced(run):
    verdict = run()
    assert verdict["outcome"] == "reproduced"
    assert verdict["backbones"] == {}
    assert verdict["differences"]["hr@10"]["difference"] == 0.0


@pytest.mark.parametrize("moved", [0.01, -0.01])
def test_figures_beyond_the_tolerance_are_not_and_by_how_much(run, moved, capsys):
    verdict = run(moved=moved)
    assert verdict["outcome"] == "not reproduced"
    assert verdict["differences"]["ndcg@20"]["difference"] == pytest.approx(moved)
    record = {"name": NAME, "source": "Table 3", "is_ours": False, "verdict": verdict}
    print_verdict(record)
    printed = capsys.readouterr().out
    assert "recipe table3/50k-TI (Table 3): not reproduced" in printed
    assert f"{moved:+.4f}" in printed


def test_the_cut_dataset_of_table_2_is_the_dataset_too(run):
    assert run(counts=(50_000, 19_099, 339_511))["outcome"] == "reproduced"


def test_features_of_another_backbone_are_named(run):
    assert run(backbone="local/bert")["backbones"] == {"text": "local/bert"}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"scale": "sample"}, "the sample shows that a recipe runs"),
        ({"counts": (1500, 300, 13_074)}, "another dataset than MicroLens-50K: expected 50,000"),
        ({"users": 49_000}, "expected 50,000 users in the ranking, found 49,000"),
        ({"items": 19_000}, "expected 19,099 items in the ranking, found 19,000"),
        ({"changes": {"model.top_k": 1}}, "model.top_k is 1, not 2"),
        ({"changes": {"data.modality": ["text"]}}, "data.modality is ['text'], not"),
        ({"changes": {"mask_history": "none"}}, "mask_history is none, not all"),
        ({"changes": {"features.permute_seed": 1}}, "features.permute_seed is 1, not None"),
        ({"name": "fig5/50k-lr-1e-4"}, "no figure is printed for this row"),
    ],
)
def test_there_is_no_verdict_where_the_run_is_not_the_row(run, given, why):
    verdict = run(**given)
    assert verdict["outcome"] == "none"
    assert why in verdict["why"]


@pytest.mark.parametrize("name", ["optimiser.lr", "model.bottleneck_dim", "batch_size", "seed"])
def test_what_the_paper_leaves_to_the_search_may_be_anything(run, name):
    value = 1 if name != "optimiser.lr" else 1e-5
    assert run(changes={name: value})["outcome"] == "reproduced"


def test_a_run_without_a_recipe_has_no_verdict(tmp_path):
    assert conclude(tmp_path, {}) is None


def test_a_damaged_record_is_an_error(tmp_path):
    (tmp_path / "recipe.json").write_text('{"name": 3}')
    with pytest.raises(StoreIntegrityError, match=r"recipe\.json"):
        conclude(tmp_path, {})
