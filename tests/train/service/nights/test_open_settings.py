"""Which settings may hold free text is told from their classes."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, create_model

from crossan.common.config import OneOf, Settings
from crossan.train.service.nights.open_settings import code_in, open_settings
from crossan.train.settings import RunSettings


class Colour(StrEnum):
    RED = "red"


CLOSED = [
    bool,
    int | None,
    Annotated[float, Field(gt=0)],
    Literal["a", "b"],
    Colour,
    tuple[Colour, ...] | None,
    tuple[int, ...],
    list[Annotated[int, Field(ge=0)]],
    Annotated[str, OneOf(lambda: ["a"], may_be_code=True)],
    tuple[Annotated[str, OneOf(lambda: ["a"])], ...],
]
OPEN = [
    str,
    str | None,
    Annotated[str, Field(max_length=9)],
    tuple[str, ...],
    Path,
    bytes,
    Any,
    dict[str, int],
    dict[str, str],
    int | str,
    list[Path],
]


@pytest.mark.parametrize("annotation", CLOSED)
def test_values_out_of_a_list_are_closed(annotation):
    assert open_settings(create_model("Made", __base__=Settings, one=(annotation, ...))) == set()


@pytest.mark.parametrize("annotation", OPEN)
def test_whatever_may_hold_text_is_open(annotation):
    assert open_settings(create_model("Made", __base__=Settings, one=(annotation, ...))) == {"one"}


def test_the_open_settings_of_a_run():
    """Add a name here only after asking whether a client may give it: it is refused until then."""
    backbones = {"model.text", "model.image", "model.video", "model.audio"}
    data = {"data.dataset", "data.cache", "data.store", "init"}
    runs = {"model.of"}  # folders of the machine, so it stays refused
    assert open_settings(RunSettings) == data | backbones | runs


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("package.module:Name", "package.module:Name"),
        (["a", {"deep": ("b", "os:system")}], "os:system"),
        ({"os:system": 1}, "os:system"),
        ("momef", None),
        ([1, 2.0, None, "a b:c"], None),
    ],
)
def test_the_name_of_code_is_found_anywhere(value, name):
    assert code_in(value) == name
