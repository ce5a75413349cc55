"""Groups whose class is chosen by kind: as a union that pydantic knows, and as a table."""

from collections.abc import Mapping
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from crossan.cache_schema.errors import ConfigError
from crossan.common.config import (
    Kinds,
    Settings,
    load_settings,
)
from support.toy_settings import (
    Counts,
    Ids,
    Router,
    TableRun,
    Towers,
    UnionRun,
    toy_kinds,
)

BOTH = pytest.mark.parametrize("kind", [UnionRun, TableRun])


def load(kind, tmp_path, texts=(), assignments=(), environment=None):
    files = []
    for number, text in enumerate(texts):
        files.append(tmp_path / f"{number}.toml")
        files[-1].write_text(text)
    return load_settings(kind, files=files, assignments=assignments, environment=environment or {})


@BOTH
@pytest.mark.parametrize(
    ("assignments", "model"),
    [
        ([], Towers()),
        (["model.top_k=3"], Towers(top_k=3)),
        (
            ["model.kind=towers", "model.router.temperature=0.5"],
            Towers(router=Router(temperature=0.5)),
        ),
        (["model.kind=ids"], Ids()),
        (["model.has_bias=true", "model.kind=ids"], Ids(has_bias=True)),
        (["model.kind=ids", "model.width=32"], Ids(width=32)),
        (["model.kind=counts"], Counts()),
        (["model.kind=ids", "model.kind=towers", "model.top_k=1"], Towers(top_k=1)),
    ],
)
def test_the_kind_is_chosen_wherever_it_stands(tmp_path, kind, assignments, model):
    assert load(kind, tmp_path, assignments=assignments) == kind(model=model)


@BOTH
def test_each_source_may_choose_the_kind_and_the_highest_does(tmp_path, kind):
    texts = ["[model]\nkind = 'counts'\n", "[model]\nkind = 'ids'\nwidth = 8\n"]
    assert load(kind, tmp_path, texts[:1]).model == Counts()
    assert load(kind, tmp_path, texts).model == Ids(width=8)
    environment = {"CROSSAN_MODEL__KIND": "towers"}
    assert load(kind, tmp_path, texts, environment=environment).model == Towers(width=8)
    set_last = ["model.kind=ids"]
    assert load(kind, tmp_path, texts, set_last, environment).model == Ids(width=8)


@BOTH
@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (
            ["model.topk=3"],
            "--set model.topk=3: unknown setting 'model.topk'; did you mean 'model.top_k'?",
        ),
        (
            ["model.kind=ids", "model.bias=true"],
            "--set model.bias=true: unknown setting 'model.bias'; did you mean 'model.has_bias'?",
        ),
        (
            ["model.router.temprature=1"],
            (
                "--set model.router.temprature=1: unknown setting 'model.router.temprature';"
                " did you mean 'model.router.temperature'?"
            ),
        ),
        (["top_k=3"], "--set top_k=3: unknown setting 'top_k'; did you mean 'model.top_k'?"),
        (
            ["model.kind=ids", "has_bia=true"],
            "--set has_bia=true: unknown setting 'has_bia'; did you mean 'model.has_bias'?",
        ),
        (
            ["model.has_bias=true"],
            (
                "--set model.has_bias=true: 'model.has_bias' is a setting of ids, not of towers, the"
                " default of model.kind"
            ),
        ),
        (
            ["model.kind=counts", "model.width=3"],
            (
                "--set model.width=3: 'model.width' is a setting of towers and ids, not of counts,"
                " which --set model.kind=counts chooses"
            ),
        ),
        (
            ["model.kind=ids", "model.top_k=2"],  # the default, but typed beside the kind
            (
                "--set model.top_k=2: 'model.top_k' is a setting of towers, not of ids, which"
                " --set model.kind=ids chooses"
            ),
        ),
        (
            ["model.kind=towrs"],
            (
                "--set model.kind=towrs: model.kind: expected one of towers, ids, counts, got 'towrs';"
                " did you mean 'towers'?"
            ),
        ),
        (
            ["model.kind=3", "sed=1"],
            (
                "--set model.kind=3: model.kind: expected one of towers, ids, counts, got 3\n"
                "  --set sed=1: unknown setting 'sed'; did you mean 'seed'?"
            ),
        ),
        (
            ["model=ids"],
            (
                "--set model=ids: 'model' is a group of settings; name one of them, for example"
                " 'model.kind'"
            ),
        ),
        (
            ["model.router=1"],
            (
                "--set model.router=1: 'model.router' is a group of settings; name one of them, for"
                " example 'model.router.temperature'"
            ),
        ),
        (
            ["model.top_k=9"],
            "--set model.top_k=9: model.top_k: Input should be less than or equal to 4, got 9",
        ),
        (
            ["model.kind=ids", "model.width=x", "seed=y"],
            (
                "--set model.width=x: model.width: Input should be a valid integer, unable to parse"
                " string as an integer, got 'x'\n  --set seed=y: seed: Input should be a valid"
                " integer, unable to parse string as an integer, got 'y'"
            ),
        ),
        (
            ["model.router.hidden=[1,'x']"],
            (
                "--set model.router.hidden=[1,'x']: model.router.hidden.1: Input should be a valid"
                " integer, unable to parse string as an integer, got 'x'"
            ),
        ),
    ],
)
def test_a_wrong_assignment_is_named(tmp_path, kind, assignments, message):
    with pytest.raises(ConfigError) as caught:
        load(kind, tmp_path, assignments=assignments)
    assert str(caught.value) == message


@BOTH
def test_a_kind_is_checked_as_a_whole(tmp_path, kind):
    with pytest.raises(
        ConfigError, match=r"^--set model.heads=3: model: expected width to be divisible"
    ):
        load(kind, tmp_path, assignments=["model.heads=3"])


@BOTH
def test_an_optional_group_without_a_default_needs_its_kind(tmp_path, kind):
    assignments = ["other.width=8"]
    with pytest.raises(
        ConfigError, match=r"--set other.width=8: other.kind: expected one of .*, got none$"
    ):
        load(kind, tmp_path, assignments=assignments)
    settings = load(kind, tmp_path, assignments=[*assignments, "other.kind=ids"])
    assert settings.other == Ids(width=8)


def test_a_table_is_read_anew_and_a_later_kind_is_known():
    class Late(Settings):
        kind: str = "late"
        depth: int = 3

    table = dict(toy_kinds())

    class Run(Settings):
        model: Annotated[Settings, Kinds(lambda: table)] = Towers()

    with pytest.raises(ConfigError, match=r"expected one of towers, ids, counts, got 'late'"):
        load_settings(Run, assignments=["model.kind=late"], environment={})
    table["late"] = Late
    assignments = ["model.kind=late", "model.depth=4"]
    settings = load_settings(Run, assignments=assignments, environment={})
    assert settings.model == Late(depth=4)
    assert settings.model_dump() == {"model": {"kind": "late", "depth": 4}}


class Lazy(Mapping):
    """A table whose third kind belongs to a package that cannot be loaded."""

    def __getitem__(self, kind):
        if kind == "broken":
            raise ConfigError("broken could not be loaded")
        return toy_kinds()[kind]

    def __iter__(self):
        return iter([*toy_kinds(), "broken"])

    def __len__(self):
        return len(toy_kinds()) + 1


def test_a_kind_that_cannot_be_loaded_harms_only_who_chooses_it(tmp_path):
    class Run(Settings):
        model: Annotated[Settings, Kinds(Lazy)] = Towers()

    assert load(Run, tmp_path).model == Towers()
    assert load(Run, tmp_path, assignments=["model.kind=ids"]).model == Ids()
    assert Run(model=Ids()).model == Ids()
    with pytest.raises(ConfigError, match=r"'model.has_bias' is a setting of ids, not of towers"):
        load(Run, tmp_path, assignments=["model.has_bias=true"])
    with pytest.raises(ConfigError, match=r"^broken could not be loaded$"):
        load(Run, tmp_path, assignments=["model.kind=broken"])


def test_a_table_without_config_says_which_kinds_there_are():
    with pytest.raises(ValueError, match=r"expected kind as one of towers, ids, counts"):
        TableRun(model={"kind": "x"})
    with pytest.raises(ValueError, match=r"model.top_k\n"):
        TableRun(model={"kind": "towers", "top_k": 9})


def test_a_union_that_nothing_tells_apart_is_a_mistake_in_the_class():
    class Run(Settings):
        model: Towers | Ids = Field(default=Towers())

    with pytest.raises(TypeError, match=r"expected Field\(discriminator=...\).*Towers \| Ids"):
        load_settings(Run, environment={})


@given(st.data())
def test_no_order_of_assignments_matters_but_for_the_same_name(data):
    names = {"model.kind": "ids", "model.width": 8, "model.has_bias": "true", "seed": 3}
    order = data.draw(st.permutations(sorted(names)))
    assignments = [f"{name}={names[name]}" for name in order]
    settings = load_settings(UnionRun, assignments=assignments, environment={})
    assert settings == UnionRun(model=Ids(width=8, has_bias=True), seed=3)
