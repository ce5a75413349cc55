"""Another kind: what the one before it left in lower sources, and what differs."""

from typing import Annotated, Literal

import pytest
from hypothesis import given
from pydantic import model_validator

from crossan.cache_schema.errors import ConfigError
from crossan.common.config import (
    Kinds,
    Settings,
    load_settings,
    settings_differences,
    settings_with,
    to_toml,
)
from support.toy_settings import (
    IDS,
    RUNS,
    TOWERS,
    Ids,
    TableRun,
    Towers,
    UnionRun,
)

BOTH = pytest.mark.parametrize("kind", [UnionRun, TableRun])


def load(kind, tmp_path, texts=(), assignments=(), environment=None):
    files = []
    for number, text in enumerate(texts):
        files.append(tmp_path / f"{number}.toml")
        files[-1].write_text(text)
    return load_settings(kind, files=files, assignments=assignments, environment=environment or {})


@BOTH
def test_what_another_kind_left_in_a_lower_source_is_an_error_that_names_it(tmp_path, kind):
    texts = ["[model]\nkind = 'towers'\ntop_k = 3\nlayers = [1]\n"]
    with pytest.raises(ConfigError) as caught:
        load(kind, tmp_path, texts, ["model.kind=ids"])
    assert str(caught.value).split("\n  ") == [
        f"{tmp_path}/0.toml: 'model.{name}' is a setting of towers, not of ids, which"
        " --set model.kind=ids chooses"
        for name in ("top_k", "layers")
    ]


@BOTH
def test_a_default_written_out_is_no_choice(tmp_path, kind):
    texts = [to_toml(kind())]
    assert "top_k = 2" in texts[0]
    assert load(kind, tmp_path, texts, ["model.kind=ids"]) == kind(model=Ids())
    # 3 was the default of no kind, so somebody chose it.
    with pytest.raises(ConfigError, match=r"'model.router' is a setting of towers"):
        load(kind, tmp_path, ["[model.router]\nhidden = [3]\n"], ["model.kind=ids"])


@BOTH
def test_a_value_that_both_kinds_have_goes_over(tmp_path, kind):
    texts = [to_toml(kind(model=Towers(width=8)))]
    assert load(kind, tmp_path, texts, ["model.kind=ids"]).model == Ids(width=8)


@BOTH
def test_settings_with_changes_the_kind_and_what_it_has(kind):
    base = kind(model=Towers(width=8))
    assert settings_with(base, {"model.kind": "ids"}, "--grid").model == Ids(width=8)
    changes = {"model.has_bias": True, "model.kind": "ids"}
    assert settings_with(base, changes, "--grid").model == Ids(width=8, has_bias=True)
    assert settings_with(base, {"model.top_k": 4}, "--grid").model == Towers(width=8, top_k=4)
    tuned = kind(model=Towers(top_k=3))
    with pytest.raises(
        ConfigError,
        match=r"^settings: 'model.top_k' is a setting of towers, not of ids, which --grid chooses$",
    ):
        settings_with(tuned, {"model.kind": "ids"}, "--grid")
    with pytest.raises(
        ConfigError, match=r"^--grid: 'model.top_k' is a setting of towers, not of ids$"
    ):
        settings_with(base, {"model.kind": "ids", "model.top_k": 3}, "--grid")


@BOTH
def test_differences_of_two_kinds_are_the_kind_and_what_both_have(kind):
    before, now = kind(model=Towers(width=8, top_k=3)), kind(model=Ids(width=4))
    assert settings_differences(before, now) == [
        "model.kind: towers there, ids asked",
        "model.width: 8 there, 4 asked",
    ]
    assert settings_differences(before, kind(model=Towers(width=8))) == [
        "model.top_k: 3 there, 2 asked"
    ]
    assert settings_differences(before, now, but={"model"}) == []


@given(RUNS, RUNS)
def test_only_equal_settings_do_not_differ(before, now):
    if type(before) is type(now):
        assert (settings_differences(before, now) == []) == (before == now)


@given(RUNS, TOWERS | IDS)
def test_the_settings_of_a_run_are_any_others_with_its_values(settings, model):
    values = {f"model.{name}": value for name, value in model if name != "router"}
    if isinstance(model, Towers):
        values |= {f"model.router.{name}": value for name, value in model.router}
    base = type(settings)(seed=settings.seed)
    assert settings_with(base, values, "--grid") == type(settings)(seed=settings.seed, model=model)


class Wide(Towers):
    kind: Literal["wide"] = "wide"
    width: int = 256


class NightlyRun(Settings):
    """Kinds that differ in a default of their own and in one of the run."""

    model: Annotated[Settings, Kinds(lambda: {"towers": Towers, "wide": Wide, "ids": Ids})] = (
        Towers()
    )
    seed: int = 0
    rate: float = 0.5

    @classmethod
    def defaults_of_kind(cls, group, kind):
        return {"rate": 0.125} if (group, kind) == ("model", "wide") else {}

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, tree):
        kind = tree.get("model", {}).get("kind", "towers")
        return {**cls.defaults_of_kind("model", kind), **tree}


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("[model]\nkind = 'wide'\nwidth = 256\n", "ids", (64, 0.5)),
        ("rate = 0.125\n[model]\nkind = 'wide'\nwidth = 128\n", "ids", (128, 0.5)),
        ("rate = 0.25\n[model]\nkind = 'wide'\n", "ids", (64, 0.25)),
        ("rate = 0.5\n[model]\nwidth = 64\n", "wide", (256, 0.125)),
        ("rate = 0.5\n[model]\nkind = 'ids'\nwidth = 8\n", "wide", (8, 0.125)),
        ("rate = 0.125\n[model]\nkind = 'towers'\n", "wide", (256, 0.125)),
        # The same kind again is no other one.
        ("rate = 0.5\n[model]\nkind = 'wide'\nwidth = 64\n", "wide", (64, 0.5)),
    ],
)
def test_a_default_that_is_another_kinds_goes_with_it(tmp_path, text, kind, expected):
    run = load(NightlyRun, tmp_path, [text], [f"model.kind={kind}"])
    assert (run.model.width, run.rate) == expected


def test_what_one_source_says_together_was_meant(tmp_path):
    text = "rate = 0.5\n[model]\nkind = 'wide'\nwidth = 64\n"
    run = load(NightlyRun, tmp_path, ["seed = 3\n", text])
    assert (run.model.width, run.rate, run.seed) == (64, 0.5, 3)
