"""A processor whose inputs follow the size of the picture is refused when it is opened."""

import pytest
from PIL import Image
from typer.testing import CliRunner

from crossan.cache_schema.errors import UsageError
from crossan.extract.backbones import load_backbone
from crossan.extract.backbones.canary_inputs import canary_inputs
from crossan.extract.backbones.cli import app
from support.checkpoints import MODALITIES

FILE = "preprocessor_config.json"
SQUARE = {"height": 32, "width": 32}
EDGE = {"shortest_edge": 32}


def load(folder):
    return load_backbone(MODALITIES[folder.name], str(folder), device="cpu")


@pytest.mark.parametrize(
    ("name", "changes", "match"),
    [
        ("vit", {"do_resize": False}, "says do_resize false"),
        ("vit", {"size": EDGE}, 'says do_resize true, size {"shortest_edge": 32}'),
        ("vit", {"size": {"max_height": 32, "max_width": 32}}, '"max_height": 32'),
        ("vit", {"size": {"height": 32, "width": 16}}, '"width": 16'),
        ("videomae", {"do_center_crop": False}, "do_center_crop false"),
        ("videomae", {"crop_size": {"height": 16, "width": 32}}, '"height": 16'),
        ("videomae", {"do_resize": False, "do_center_crop": False}, "do_resize false"),
        ("vivit", {"do_center_crop": False}, "do_center_crop false"),
    ],
)
def test_settings_that_give_no_fixed_size_are_named(changed_copy, name, changes, match):
    folder = changed_copy(name, FILE, **changes)
    with pytest.raises(UsageError) as error:
        load(folder)
    assert f"{folder}: its inputs do not fit its model: " in error.value.message
    assert f"{FILE} says " in error.value.message
    assert match in error.value.message
    assert f'"size": {{"height": 32, "width": 32}} in {folder / FILE}' in error.value.remedy


@pytest.mark.parametrize("command", ["info", "check"])
def test_every_command_refuses_a_processor_that_does_not_resize(changed_copy, command):
    folder = changed_copy("vit", FILE, do_resize=False)
    error = CliRunner().invoke(app, [command, str(folder)]).exception
    assert isinstance(error, UsageError)
    assert "do_resize false" in error.message


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("vit", {}),
        ("vit", {"size": SQUARE, "do_normalize": False}),
        ("videomae", {"do_resize": False}),
        ("videomae", {"size": SQUARE, "do_center_crop": False}),
        ("vivit", {}),
    ],
)
def test_what_opens_prepares_pictures_of_any_size(changed_copy, name, changes):
    backbone = load(changed_copy(name, FILE, **changes))
    media = canary_inputs(backbone)
    if name == "vit":
        media += [Image.new("RGB", size) for size in [(9, 500), (500, 9), (32, 32), (5, 7)]]
    assert len({backbone.prepare(medium)["pixel_values"].shape for medium in media}) == 1
