"""Settings: precedence, unknown names with the nearest one, and who gave what."""

from typing import Annotated, Literal

import pytest
from pydantic import model_validator

from crossan.cache_schema.errors import ConfigError
from crossan.common.config import (
    Base,
    FlagValue,
    OneOf,
    Settings,
    load_settings,
    settings_differences,
    settings_with,
)
from support.toy_settings import Inner, Outer


def load(tmp_path, text="", assignments=(), environment=None):
    path = tmp_path / "c.toml"
    path.write_text(text)
    return load_settings(
        Outer, files=[path], assignments=assignments, environment=environment or {}
    )


def test_precedence_is_defaults_files_environment_flags(tmp_path):
    text = "seed = 1\nname = 'file'\n[model]\nbottleneck_dim = 2\n"
    environment = {
        "CROSSAN_MODEL__BOTTLENECK_DIM": "3",
        "CROSSAN_MODEL__COMBINE": "concat",
        "CROSSAN_CACHE": "/c",
        "OTHER": "x",
    }
    settings = load(tmp_path, text, ["model.bottleneck_dim=4", "model.layers=[0, 2]"], environment)
    assert (settings.seed, settings.name, settings.rate) == (1, "file", 0.5)
    assert settings.model == Inner(bottleneck_dim=4, combine="concat", layers=(0, 2))


def test_later_files_win(tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        (tmp_path / name).write_text(f"seed = {seed}\n")
    assert load_settings(Outer, files=[tmp_path / "a", tmp_path / "b"], environment={}).seed == 2


def test_bare_words_are_strings(tmp_path):
    assert load(tmp_path, assignments=["name=runs/x y"]).name == "runs/x y"


@pytest.mark.parametrize(
    ("assignment", "match"),
    [
        (
            "model.botleneck_dim=3",
            r"--set model.botleneck_dim=3: unknown setting 'model.botleneck_dim'; did you mean 'model.bottleneck_dim'\?",
        ),
        (
            "bottleneck_dim=3",
            r"unknown setting 'bottleneck_dim'; did you mean 'model.bottleneck_dim'\?",
        ),
        ("zzz=3", r"unknown setting 'zzz'; known here: model.bottleneck_dim"),
        (
            "model=3",
            r"'model' is a group of settings; name one of them, for example 'model.bottleneck_dim'",
        ),
        ("seed", r"--set seed: expected key=value"),
        ("seed=1.5", r"--set seed=1.5: seed: .*integer.*got 1.5"),
        ("model.bottleneck_dim=0", r"model.bottleneck_dim: .*greater than or equal to 1, got 0"),
        ("model.combine=mean", r"model.combine: .*'sum' or 'concat', got 'mean'"),
    ],
)
def test_a_wrong_assignment_is_named(tmp_path, assignment, match):
    with pytest.raises(ConfigError, match=match):
        load(tmp_path, assignments=[assignment])


def test_every_problem_of_a_file_is_reported_at_once(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "sed = 1\n[model]\ncombin = 'sum'\n")
    assert "did you mean 'seed'" in str(caught.value)
    assert "did you mean 'model.combine'" in str(caught.value)


def test_an_unknown_variable_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"CROSSAN_MODEL__COMBIN: unknown setting 'model.combin'"):
        load(tmp_path, environment={"CROSSAN_MODEL__COMBIN": "sum"})


def test_files_that_are_no_toml(tmp_path):
    with pytest.raises(ConfigError, match=r"c.toml: not valid TOML"):
        load(tmp_path, "seed = = 1")
    with pytest.raises(ConfigError, match=r"nowhere.toml: no such file"):
        load_settings(Outer, files=[tmp_path / "nowhere.toml"], environment={})


def test_settings_with_replaces_by_dotted_name_and_checks_again():
    before = Outer(name="a")
    after = settings_with(before, {"model.bottleneck_dim": 3, "name": "b"}, "--grid")
    assert (after.model.bottleneck_dim, after.name, before.model.bottleneck_dim) == (3, "b", 512)
    assert settings_differences(before, after) == [
        "model.bottleneck_dim: 512 there, 3 asked",
        "name: a there, b asked",
    ]
    for but in ({"model"}, {"model.bottleneck_dim"}):
        assert settings_differences(before, after, but=but) == ["name: a there, b asked"]
    with pytest.raises(
        ConfigError,
        match=r"--grid: unknown setting 'model.botleneck_dim'; did you mean 'model.bottleneck_dim'\?",
    ):
        settings_with(before, {"model.botleneck_dim": 3}, "--grid")
    with pytest.raises(ConfigError, match=r"--grid: model.bottleneck_dim: .*got 'x'"):
        settings_with(before, {"model.bottleneck_dim": "x"}, "--grid")


def test_problems_of_all_sources_are_reported_at_once(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "sed = 1\n", ["ratte=1", "nam=x"], {"CROSSAN_MODEL__LAYER": "[1]"})
    lines = str(caught.value).split("\n  ")
    assert [line.partition(": unknown")[0] for line in lines] == [
        str(tmp_path / "c.toml"),
        "CROSSAN_MODEL__LAYER",
        "--set ratte=1",
        "--set nam=x",
    ]


def test_a_wrong_value_names_who_gave_it_last(tmp_path):
    environment = {"CROSSAN_MODEL__BOTTLENECK_DIM": "-1"}
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "rate = 'x'\n[model]\nbottleneck_dim = 0\n", ["seed=y"], environment)
    lines = str(caught.value).split("\n  ")
    assert [line.partition(": ")[0] for line in lines] == [
        "CROSSAN_MODEL__BOTTLENECK_DIM",
        "--set seed=y",
        str(tmp_path / "c.toml"),
    ]


def test_a_flag_is_named_as_typed_and_gives_way_to_set(tmp_path):
    flags = [FlagValue("--width", "model.bottleneck_dim", 0), FlagValue("--fast", "is_fast", True)]
    assert load_settings(Outer, flags=flags[1:], environment={}).is_fast
    with pytest.raises(ConfigError, match=r"^--width 0: model.bottleneck_dim: .* got 0$"):
        load_settings(Outer, flags=flags, environment={})
    assignments = ["model.bottleneck_dim=7"]
    settings = load_settings(Outer, flags=flags, assignments=assignments, environment={})
    assert settings.model.bottleneck_dim == 7
    with pytest.raises(ConfigError, match=r"^--fast: unknown setting 'fast'; did you mean"):
        load_settings(Outer, flags=[FlagValue("--fast", "fast", True)], environment={})


def test_a_name_that_is_a_value_and_a_group():
    with pytest.raises(ConfigError, match=r"--grid: model is a value and a group at once"):
        settings_with(Outer(), {"model": 3, "model.combine": "sum"}, "--grid")


def test_each_change_may_have_a_source_of_its_own():
    labels = {"seed": "--seed", "model.combine": "--combine"}
    changed = settings_with(Outer(), {"seed": 3, "model.combine": "concat"}, labels)
    assert changed == Outer(seed=3, model=Inner(combine="concat"))
    with pytest.raises(ConfigError) as caught:
        settings_with(Outer(), {"seed": "x", "model.combine": "y"}, labels)
    assert [line.partition(": ")[0] for line in str(caught.value).split("\n  ")] == [
        "--combine",
        "--seed",
    ]


class Renamed(Settings):
    seed: int = 0
    is_fast: bool = False

    @classmethod
    def upgraded(cls, tree):
        if "slow" in tree:
            if "is_fast" in tree:
                raise ValueError("expected slow or is_fast, got both")
            tree["is_fast"] = not tree.pop("slow")
        return tree


@pytest.mark.parametrize("sources", [{"assignments": ["slow=false"]}, {"is_file": True}])
def test_old_names_are_upgraded_before_names_are_checked(tmp_path, sources):
    path = tmp_path / "old.toml"
    path.write_text("slow = false\n")
    files = [path] if sources.pop("is_file", False) else []
    assert load_settings(Renamed, files=files, environment={}, **sources) == Renamed(is_fast=True)


class TwoNames(Settings):
    """Two switches of an earlier version became one choice."""

    colour: Literal["red", "blue", "none"] = "red"
    seed: int = 0

    @classmethod
    def upgraded(cls, tree):
        if {"is_red", "is_blue"} & tree.keys():
            is_red, is_blue = tree.pop("is_red", True), tree.pop("is_blue", False)
            if is_red and is_blue:
                raise ValueError("expected is_red or is_blue, got both")
            tree["colour"] = "red" if is_red else "blue" if is_blue else "none"
        return tree


def test_old_names_of_one_command_line_are_upgraded_together():
    assignments = ["is_red=false", "seed=3", "is_blue=true"]
    settings = load_settings(TwoNames, assignments=assignments, environment={})
    assert settings == TwoNames(colour="blue", seed=3)
    environment = {"CROSSAN_X__Y": "1"}
    with pytest.raises(ConfigError, match=r"^CROSSAN_X__Y: unknown setting 'x'"):
        load_settings(TwoNames, assignments=assignments, environment=environment)
    with pytest.raises(
        ConfigError, match=r"^--set sed=3: unknown setting 'sed'; did you mean 'seed'"
    ):
        load_settings(TwoNames, assignments=["is_red=false", "sed=3"], environment={})
    with pytest.raises(ConfigError, match=r"^--set seed=x: seed: "):
        load_settings(TwoNames, assignments=["is_red=false", "seed=3", "seed=x"], environment={})


def test_old_names_that_contradict_each_other_are_named_without_the_rest():
    assignments = ["is_red=true", "seed=3", "is_blue=true"]
    with pytest.raises(
        ConfigError,
        match=r"^--set is_blue=true: expected is_red or is_blue, got both$",  # is_red is the default
    ):
        load_settings(TwoNames, assignments=assignments, environment={})


def test_what_an_upgrade_makes_comes_from_those_whose_values_it_took():
    class Wrong(TwoNames):
        @classmethod
        def upgraded(cls, tree):
            if "is_red" in tree:
                tree["colour"] = f"{tree.pop('is_red')}-{tree.pop('is_blue')}"
            return tree

    assignments = ["is_red=1", "seed=3", "is_blue=2"]
    with pytest.raises(ConfigError, match=r"^--set is_red=1 --set is_blue=2: colour: .*got '1-2'$"):
        load_settings(Wrong, assignments=assignments, environment={})


def test_an_upgrade_changes_no_tree_of_the_caller_and_its_error_names_the_source(tmp_path):
    changes = {"slow": False}
    assert settings_with(Renamed(), changes, "--grid").is_fast
    assert changes == {"slow": False}
    with pytest.raises(ConfigError, match=r"^--grid: expected slow or is_fast, got both$"):
        settings_with(Renamed(), {"slow": True, "is_fast": True}, "--grid")


class Named(Settings):
    fusion: Annotated[str, OneOf(lambda: ["momef", "mean"])] = "momef"


def test_a_name_that_others_may_add_to_is_checked():
    assert load_settings(Named, assignments=["fusion=mean"], environment={}).fusion == "mean"
    with pytest.raises(
        ConfigError,
        match=r"--set fusion=momf: fusion: expected one of momef, mean, got 'momf'; did you mean 'momef'\?$",
    ):
        load_settings(Named, assignments=["fusion=momf"], environment={})


class Fitting(Settings):
    low: int = 0
    high: int = 9

    @model_validator(mode="after")
    def _ascend(self):
        if self.low > self.high:
            raise ValueError(f"expected low up to high, got {self.low} and {self.high}")
        return self


class Around(Settings):
    inner: Fitting = Fitting()
    seed: int = 0
    low: int = 0

    @model_validator(mode="after")
    def _fits(self):
        if self.inner.high == self.seed:
            raise ValueError("expected another seed than inner.high")
        return self


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["inner.low=3", "inner.high=2"], "inner: expected low up to high, got 3 and 2"),
        (["low=1", "inner.low=12"], "inner: expected low up to high, got 12 and 9"),
        (["seed=2", "low=7", "inner.high=2"], "expected another seed than inner.high"),
    ],
)
def test_settings_that_do_not_fit_together_are_named_by_who_gave_them(assignments, message):
    named = [one for one in assignments if not one.startswith("low=")]
    labels = " ".join(f"--set {one}" for one in named)
    with pytest.raises(ConfigError) as caught:
        load_settings(Around, assignments=assignments, environment={})
    assert str(caught.value) == f"{labels}: {message}"  # and no dump of all other settings


class Partly(Settings):
    model: Inner = Inner(bottleneck_dim=7)
    maybe: Inner | None = None


def test_a_group_given_in_part_keeps_what_its_default_sets():
    settings = load_settings(Partly, assignments=["model.combine=concat"], environment={})
    assert settings.model == Inner(bottleneck_dim=7, combine="concat")


def test_an_optional_group_is_checked_like_any_other():
    assert load_settings(Partly, environment={}).maybe is None
    settings = load_settings(Partly, assignments=["maybe.bottleneck_dim=3"], environment={})
    assert settings.maybe == Inner(bottleneck_dim=3)
    assert settings_with(settings, {"maybe": None}, "--grid").maybe is None
    with pytest.raises(ConfigError, match=r"unknown setting 'maybe.combin'; did you mean 'maybe"):
        load_settings(Partly, assignments=["maybe.combin=sum"], environment={})


def test_bases_stand_above_defaults_and_below_everything_else(tmp_path):
    bases = [Base("one", {"inner.low": 2, "seed": 3}), Base("two", {"inner.low": 4})]
    settings = load_settings(Around, bases=bases, environment={})
    assert (settings.inner.low, settings.seed) == (4, 3)
    file = tmp_path / "f.toml"
    file.write_text("[inner]\nlow = 5\n")
    settings = load_settings(Around, bases=bases, files=[file], environment={})
    assert (settings.inner.low, settings.seed) == (5, 3)
    assert (
        load_settings(Around, bases=bases, environment={"CROSSAN_INNER__LOW": "6"}).inner.low == 6
    )


def test_a_wrong_name_in_a_base_is_told_with_its_label():
    with pytest.raises(ConfigError, match=r"^recipe x: unknown setting 'inner\.lo'; did you mean"):
        load_settings(Around, bases=[Base("recipe x", {"inner.lo": 1})], environment={})
