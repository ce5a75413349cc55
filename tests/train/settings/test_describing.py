"""Every setting is described: from its class alone, and each kind of model by its own."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field
from pydantic.fields import FieldInfo

from crossan.cache_schema.errors import UsageError
from crossan.common.config import Kinds, OneOf, Settings, settings_in
from crossan.train.settings import RunSettings
from crossan.train.settings.allowed import allowed_values
from crossan.train.settings.describing import (
    as_records,
    default_text,
    describe_settings,
    model_kinds,
)
from crossan.train.settings.paper import Paper


class Model(Settings):
    """What every kind has."""

    kind: str
    """Name of the model."""


class Wide(Model):
    """Vectors of a width.

    Nobody reads this line.
    """

    kind: Literal["wide"] = "wide"

    width: Annotated[int, Paper("64", "32, 64")] = Field(default=64, ge=1)
    """Width of
    ``item`` vectors."""


class Deep(Wide):
    """Vectors of a width and a depth."""

    kind: Literal["deep"] = "deep"

    depth: int | None = Field(default=None, ge=1, le=4)
    """Layers; none where not given."""


class Shallow(Model):
    """Of another width."""

    kind: Literal["shallow"] = "shallow"

    width: int = 8
    """Width of all."""


def kinds():
    return {"wide": Wide, "deep": Deep, "shallow": Shallow}


class Data(Settings):
    """What is read."""

    dataset: str
    """Folder."""


class Run(Settings):
    """A run."""

    data: Data
    model: Annotated[Model, Kinds(kinds)] = Wide()
    seed: int = 3
    """Seed."""


def names(sections):
    return [described.name for section in sections for described in section.settings]


def test_settings_of_all_kinds_stand_once_each_with_the_kinds_that_have_it():
    sections = describe_settings(run=Run)
    assert [(section.name, section.meaning) for section in sections] == [
        ("", "A run"),
        ("data", "What is read"),
        ("model", ""),
    ]
    assert sections[2].kinds == (
        ("wide", "Vectors of a width"),
        ("deep", "Vectors of a width and a depth"),
        ("shallow", "Of another width"),
    )
    assert [sections[2].models_text(one) for one in sections[2].settings] == [
        "all",
        "wide, deep",
        "deep",
        "shallow",
    ]
    described = {
        (one.name, one.default): (one.allowed, one.meaning, str(one.paper or ""), one.models)
        for one in sections[2].settings
    }
    assert described == {
        ("model.kind", "wide"): (
            "wide, deep, shallow",
            "Name of the model.",
            "",
            ("wide", "deep", "shallow"),
        ),
        ("model.width", 64): (
            "whole number, 1 or more",
            "Width of `item` vectors.",
            "64; searched 32, 64",
            ("wide", "deep"),
        ),
        ("model.depth", None): (
            "whole number, 1 to 4",
            "Layers; none where not given.",
            "",
            ("deep",),
        ),
        ("model.width", 8): ("whole number", "Width of all.", "", ("shallow",)),
    }


def test_one_kind_has_its_own_settings_only_and_must_be_chosen_unless_it_is_the_default():
    assert names(describe_settings("shallow", Run)) == [
        "seed",
        "data.dataset",
        "model.kind",
        "model.width",
    ]
    assert describe_settings("shallow", Run)[2].kinds == ()
    shown = {
        kind: default_text(describe_settings(kind, Run)[2].settings[0]) for kind in model_kinds(Run)
    }
    assert shown == {"wide": '"wide"', "deep": "required", "shallow": "required"}
    assert describe_settings("deep", Run)[2].meaning == "Vectors of a width and a depth"


def test_an_unknown_model_names_the_nearest():
    with pytest.raises(
        UsageError, match=r"^shalow: expected one of wide, deep, shallow; did you mean 'shallow'\?"
    ):
        describe_settings("shalow", Run)


def test_records_are_what_json_has():
    records = {record["name"]: record for record in as_records(describe_settings("wide", Run))}
    assert records["data.dataset"] == {
        "name": "data.dataset",
        "default": None,
        "required": True,
        "values": "text",
        "paper": None,
        "models": [],
        "meaning": "Folder.",
    }
    assert records["model.width"]["paper"] == {"value": "64", "searched": "32, 64"}
    assert records["model.width"]["models"] == ["wide"]


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@pytest.mark.parametrize(
    ("annotation", "field", "words"),
    [
        (bool, Field(default=False), "true, false"),
        (int, Field(default=1, ge=1, le=4), "whole number, 1 to 4"),
        (
            int | None,
            Field(default=None, ge=0, lt=2**32),
            "whole number, 0 or more, below 4294967296",
        ),
        (float, Field(default=1.0, gt=0), "number, above 0"),
        (float, Field(default=0.0, ge=0.0, lt=1.0), "number, 0 or more, below 1"),
        (float, Field(default=0.0, le=0.5), "number, up to 0.5"),
        (Literal["a", "b"], Field(default="a"), "a, b"),
        (Literal["a", "b"] | None, Field(default=None), "a, b"),
        (int | str, Field(default=1), "whole number or text"),
        (tuple[int, ...] | None, Field(default=None), "list of whole numbers"),
        (tuple[str, ...], Field(default=()), "list of texts"),
        (tuple[Colour, ...], Field(default=()), "list of red, blue"),
        (Annotated[str, OneOf(lambda: ["a", "b"])], Field(default="a"), "a, b"),
        (Annotated[int, Paper("2")], Field(default=2, ge=1), "whole number, 1 or more"),
    ],
)
def test_allowed_values_in_words(annotation, field, words):
    assert allowed_values(FieldInfo.from_annotated_attribute(annotation, field)) == words


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Any, "Any"),
        (Path, "Path"),
        (dict[str, int], "dict[str, int]"),
        (dict[str, int] | None, "dict[str, int]"),
        (tuple[Path, ...], "list of Path"),
    ],
)
def test_a_type_that_has_no_words_is_shown_as_code(annotation, words):
    assert allowed_values(FieldInfo.from_annotation(annotation)) == words


def test_every_setting_of_a_run_is_described():
    sections = describe_settings()
    assert set(names(sections)) == {setting.name for setting in settings_in(RunSettings)}
    for section in sections:
        for described in section.settings:
            assert described.meaning, described.name
            assert described.allowed, described.name
            assert "[" not in described.allowed, described.name  # words, not a type as code
    assert [section.name for section in sections][:3] == ["", "data", "model"]


def test_the_kinds_of_model_are_those_of_a_run():
    assert all(model_kinds().values())
    for kind in filter(None, model_kinds()):
        models = {one.models for section in describe_settings(kind) for one in section.settings}
        assert models <= {(), (kind,)}
