"""What a kind of model sets for a whole run holds where the user names nothing."""

from typing import ClassVar, Literal

import pytest

from crossan.cache_schema.errors import ConfigError
from crossan.common.config import load_settings, settings_in, to_toml
from crossan.train.settings import GraphSettings, RunSettings, kinds, run_defaults_of
from crossan.train.settings.describing import describe_settings
from crossan.train.settings.kinds import model_settings_classes


class ToySettings(GraphSettings):
    """A toy."""

    kind: Literal["toy"] = "toy"

    run_defaults: ClassVar = {**GraphSettings.run_defaults, "optimiser.lr_decay": 0.5, "seed": 7}


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(kinds._BUILT_IN, "toy", ToySettings)


def load(*assignments, **more):
    return load_settings(
        RunSettings, assignments=["data.dataset=d", *assignments], environment={}, **more
    )


def test_they_fill_in_what_nobody_names():
    run = load("model.kind=toy", "optimiser.lr=0.5", "seed=3")
    assert (run.batch_size, run.patience, run.seed) == (2048, 21, 3)
    assert run.objective.kind == "triples"
    named = load("model.kind=sasrec", "optimiser.lr=0.5").optimiser
    assert run.optimiser == named.model_copy(update={"weight_decay": 0.0, "lr_decay": 0.5})
    assert load("model.kind=sasrec").optimiser.lr_decay == 1.0


def test_they_hold_in_a_file_and_in_the_environment_too(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text('patience = 5\n[model]\nkind = "toy"\n[optimiser]\nweight_decay = 0.25\n')
    run = load_settings(
        RunSettings,
        assignments=["data.dataset=d"],
        files=[config],
        environment={"CROSSAN_DATA__MAX_ITEMS": "9"},
    )
    assert (run.batch_size, run.patience, run.data.max_items) == (2048, 5, 9)
    assert (run.optimiser.weight_decay, run.optimiser.lr_decay) == (0.25, 0.5)


def test_a_recorded_run_keeps_what_it_ran_with(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text(to_toml(load("model.kind=toy", "batch_size=3")))
    again = load_settings(RunSettings, files=[config], environment={})
    assert again == load("model.kind=toy", "batch_size=3")


def test_the_description_of_a_kind_shows_them():
    described = {
        one.name: one.default for section in describe_settings("toy") for one in section.settings
    }
    assert described["optimiser.lr_decay"] == 0.5
    assert described["batch_size"] == 2048
    listed = {kind: text for section in describe_settings() for kind, text in section.kinds}
    assert "`batch_size=2048`" in listed["toy"]


def test_every_kinds_defaults_name_settings_of_a_run():
    names = {setting.name for setting in settings_in(RunSettings)}
    for kind in model_settings_classes():
        assert set(run_defaults_of(kind)) <= names, kind
        assert load(f"model.kind={kind}").model.kind == kind


def test_a_layer_is_a_number_or_the_last():
    assert load("model.kind=toy").model.kept_layers() == "last"
    assert load("model.kind=toy", "model.layer=4").model.kept_layers() == (4,)
    for wrong in ("model.layer=-1", "model.layer=first", "model.variant=mine"):
        with pytest.raises(ConfigError, match=wrong.partition("=")[0]):
            load("model.kind=toy", wrong)


def test_the_rate_of_an_epoch_falls_by_the_decay_in_fifty():
    optimiser = load("model.kind=toy").optimiser
    assert [optimiser.decay(epoch) for epoch in (1, 26, 51, 101)] == [
        1.0, pytest.approx(0.5**0.5), 0.5, 0.25,
    ]  # fmt: skip
    assert load("model.kind=sasrec").optimiser.decay(77) == 1.0


@pytest.mark.parametrize("kind", sorted(model_settings_classes()))
@pytest.mark.parametrize("before", sorted(model_settings_classes()))
def test_a_recorded_file_of_one_kind_serves_any_other(tmp_path, before, kind):
    config = tmp_path / "config.toml"
    config.write_text(to_toml(load(f"model.kind={before}")))
    assert load(f"model.kind={kind}", files=[config]) == load(f"model.kind={kind}")


def test_what_a_kind_set_goes_with_it_and_what_somebody_chose_stays(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text(to_toml(load("batch_size=3", "optimiser.lr=0.5")))
    assert load(files=[config]).average_epochs == 4
    graph = load("model.kind=bm3", files=[config])
    assert (graph.average_epochs, graph.batch_size, graph.patience) == (1, 3, 21)
    assert (graph.optimiser.lr, graph.features.standardise) == (0.5, "none")
    by_hand = tmp_path / "by_hand.toml"
    by_hand.write_text("[features]\nstandardise = 'none'\n")
    assert load(files=[by_hand]).features.standardise == "none"


def test_no_other_objective_meets_the_debiasing_of_the_batch():
    assert load().objective.debias == "negatives"
    assert load("objective.kind=in-batch").objective.debias == "negatives"
    for kind in ("catalogue", "cross-batch"):
        assert load(f"objective.kind={kind}").objective.debias == "all"
    with pytest.raises(ConfigError, match="debias"):
        load("objective.kind=catalogue", "objective.debias=negatives")
