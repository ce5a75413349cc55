"""Settings: precedence, unknown keys with the nearest one, and the way back to TOML."""

import tomllib
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from crossan.cache_schema.errors import ConfigError
from crossan.common.config import (
    Settings,
    load_settings,
    settings_differences,
    settings_with,
    to_toml,
    toml_value,
)


class Inner(Settings):
    bottleneck_dim: int = Field(default=512, ge=1)
    combine: Literal["sum", "concat"] = "sum"
    layers: tuple[int, ...] | None = None


class Outer(Settings):
    model: Inner = Inner()
    seed: int = 0
    rate: float = 0.5
    name: str = ""
    is_fast: bool = False


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
    with pytest.raises(ConfigError, match=r"environment: unknown setting 'model.combin'"):
        load(tmp_path, environment={"CROSSAN_MODEL__COMBIN": "sum"})


def test_files_that_are_no_toml(tmp_path):
    with pytest.raises(ConfigError, match=r"c.toml: not valid TOML"):
        load(tmp_path, "seed = = 1")
    with pytest.raises(ConfigError, match=r"nowhere.toml: no such file"):
        load_settings(Outer, files=[tmp_path / "nowhere.toml"], environment={})


@given(
    st.builds(
        Outer,
        model=st.builds(
            Inner,
            bottleneck_dim=st.integers(1, 10**6),
            combine=st.sampled_from(["sum", "concat"]),
            layers=st.none() | st.lists(st.integers(0, 12)).map(tuple),
        ),
        seed=st.integers(-(2**40), 2**40),
        rate=st.floats(allow_nan=False, allow_infinity=False),
        name=st.text(st.characters(exclude_categories=["Cs"])),
        is_fast=st.booleans(),
    )
)
def test_toml_and_back_is_the_same(tmp_path_factory, settings):
    path = tmp_path_factory.mktemp("toml") / "c.toml"
    path.write_text(to_toml(settings), encoding="utf-8", newline="")
    assert load_settings(Outer, files=[path], environment={}) == settings


def test_settings_with_replaces_by_dotted_name_and_checks_again():
    before = Outer(name="a")
    after = settings_with(before, {"model.bottleneck_dim": 3, "name": "b"}, "--grid")
    assert (after.model.bottleneck_dim, after.name, before.model.bottleneck_dim) == (3, "b", 512)
    assert settings_differences(before, after) == [
        "model.bottleneck_dim: 512 there, 3 asked",
        "name: a there, b asked",
    ]
    assert settings_differences(before, after, but={"model"}) == ["name: a there, b asked"]
    with pytest.raises(
        ConfigError,
        match=r"--grid: unknown setting 'model.botleneck_dim'; did you mean 'model.bottleneck_dim'\?",
    ):
        settings_with(before, {"model.botleneck_dim": 3}, "--grid")
    with pytest.raises(ConfigError, match=r"--grid: model.bottleneck_dim: .*got 'x'"):
        settings_with(before, {"model.bottleneck_dim": "x"}, "--grid")


@pytest.mark.parametrize("value", [True, 3, 1e-5, 'a"b\x7fé😀', [1, [2.5, "x"]]])
def test_a_value_written_as_toml_reads_back(value):
    assert tomllib.loads(f"value = {toml_value(value)}")["value"] == value
