"""docs/howto/bring-your-own-backbone.md, block by block: two plug-ins, installed as a distribution, checked and used."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.extract.backbones import check_backbone, load_backbone
from crossan.extract.backbones.plugins import find_family, plugin_names
from support.checkpoint_damage import LFS_POINTER
from support.distributions import Page, lay_out, look_anew

PAGE = Page("bring-your-own-backbone.md")
GROUP = "crossan.backbones"


@pytest.fixture(autouse=True)
def our_commands(monkeypatch):
    """Let a shell find the commands of this environment, which need not be activated."""
    monkeypatch.setenv(
        "PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that lays out an installed distribution of these files and entry points."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))

    def install(name, files, points):
        lay_out(site, name, files, {GROUP: points})
        look_anew()

    yield install
    look_anew()


@pytest.fixture
def shop(install):
    """Install the package of the how-to."""
    install("shop-backbones", PAGE.files, PAGE.points[GROUP])


@pytest.fixture
def patchnet(shop, tmp_path):
    from shop_patchnet import PatchNet

    folder = tmp_path / "checkpoints" / "patchnet"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    save_file(PatchNet(32, 3).state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "patchnet"}))
    return folder


@pytest.fixture
def clip(shop, tmp_path):
    shape = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
    }
    text = shape | {"vocab_size": 99, "bos_token_id": 0, "eos_token_id": 1}
    vision = shape | {"image_size": 32, "patch_size": 8}
    folder = tmp_path / "clip"
    torch.manual_seed(0)
    transformers.CLIPModel(
        transformers.CLIPConfig(text_config=text, vision_config=vision)
    ).save_pretrained(folder)
    size = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
    transformers.CLIPImageProcessorPil(**size).save_pretrained(folder)
    return folder


def test_the_howto_has_the_blocks_that_are_run_here():
    assert list(PAGE.files) == ["shop_clip.py", "shop_patchnet.py"]
    assert [line.split()[:2] for line in PAGE.shell] == [
        ["crossan", "backbones"],
        ["crossan-extract", "--modality"],
    ]


def test_clip_gives_the_states_of_transformers(clip):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 40, 3), np.uint8))
    backbone = load_backbone(Modality.IMAGE, str(clip), layers="all", device="cpu")
    found = backbone.encode([backbone.prepare(picture)])
    pixels = transformers.CLIPImageProcessorPil.from_pretrained(clip)(picture, return_tensors="pt")
    with torch.no_grad():
        states = transformers.CLIPVisionModel.from_pretrained(clip)(
            **pixels, output_hidden_states=True
        ).hidden_states
    expected = torch.stack([state[:, 0] for state in states], dim=1).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    identity = backbone.identity("float16", "raw")
    assert identity.inputs["preparation"] == "vectorised"
    assert identity.backbone["family"] == "clip"


@pytest.mark.parametrize("plugin", ["clip", "patchnet"])
def test_both_plugins_conform(plugin, request):
    folder = request.getfixturevalue(plugin)
    assert [
        check
        for check in check_backbone(Modality.IMAGE, str(folder), device="cpu")
        if not check.holds
    ] == []


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        ("a lost weight", r"family patchnet could not load .*: KeyError: 'patches.bias'"),
        ("git-lfs", "found a git-lfs pointer"),
        ("cut off", "patchnet could not be loaded from .*model.safetensors: "),
        ("quantised", "expected a backbone in floating point, found one quantised by gptq"),
        ("another width", "family patchnet could not load"),
    ],
)
def test_the_folder_of_a_plugin_passes_the_same_door(patchnet, damage, match):
    weights = patchnet / "model.safetensors"
    if damage == "a lost weight":
        tensors = load_file(weights)
        del tensors["patches.bias"]
        save_file(tensors, weights)
    elif damage == "git-lfs":
        weights.write_bytes(LFS_POINTER)
    elif damage == "cut off":
        weights.write_bytes(weights.read_bytes()[:-9])
    elif damage == "another width":
        save_file(load_file(weights) | {"patches.bias": torch.zeros(7)}, weights)
    else:
        config = {"model_type": "patchnet", "quantization_config": {"quant_method": "gptq"}}
        (patchnet / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=match):
        load_backbone(Modality.IMAGE, str(patchnet), device="cpu")


def test_an_own_pooling_and_an_own_model_that_crossan_knows_nothing_of(patchnet):
    backbone = load_backbone(Modality.IMAGE, str(patchnet), layers="0", pooling="max", device="cpu")
    found = backbone.encode([backbone.prepare(Image.new("RGB", (9, 9), (255, 0, 51)))])
    with torch.no_grad():
        colour = torch.tensor([1.0, 0.0, 0.2]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
        expected = backbone.model.patches(colour).flatten(2).amax(dim=2)
    np.testing.assert_allclose(found[:, 0], expected.numpy(), rtol=1e-5, atol=1e-6)
    capture = backbone.identity("float16", "raw").capture
    assert (capture["attention"], capture["pooling"]) == ("the model's own", "max")


def test_the_commands_of_the_howto_run(patchnet, tmp_path):
    done = subprocess.run(PAGE.shell[0], shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shown = re.findall(r"^    ok +([^:]*)", PAGE.text, re.MULTILINE)
    assert re.findall(r"^ok +([^:]*)", done.stdout, re.MULTILINE) == shown
    listed = subprocess.run(
        "crossan backbones ls --json", shell=True, cwd=tmp_path, capture_output=True, check=True
    )
    assert json.loads(listed.stdout)["plugins"] == {
        "clip": "shop-backbones",
        "patchnet": "shop-backbones",
    }


def test_help_loads_no_plugin(install, tmp_path):
    install(
        "shop-broken", {"shop_broken.py": "raise SystemExit('loaded')"}, {"broken": "shop_broken:X"}
    )
    for command in (
        "crossan --help",
        "crossan backbones --help",
        "crossan backbones ls",
        "crossan-extract --help",
    ):
        done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, "loaded" in done.stdout + done.stderr) == (0, False)
    with pytest.raises(SystemExit, match="loaded"):
        find_family("broken")  # so that there was something to load


FAMILY = (
    "from crossan.cache_schema.modality import Modality\nfrom crossan.extract.backbones import Family\n"
    "X = Family(model_type={!r}, modality=Modality.TEXT, model_class='A', processor_class='B'{})\n"
)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            "import no_such_module_anywhere\n",
            "could not be loaded: ModuleNotFoundError: No module named",
        ),
        ("X = (\n", "could not be loaded: SyntaxError"),
        ("Y = 1\n", "could not be loaded: AttributeError"),
        ("X = 3\n", "could not be loaded: TypeError: 'int' object is not callable"),
        ("def X(): return 'a family'\n", "expected a Family, found str"),
        (FAMILY.format("other", ""), "expected a Family with model_type mine, found other"),
        (
            FAMILY.format("mine", ", load_model=print"),
            "family mine: expected either model_class or load_model",
        ),
        (
            FAMILY.format("mine", ", poolings=('best',)"),
            "family mine: pooling best is neither built in nor",
        ),
    ],
)
def test_a_plugin_that_is_none_is_named_with_its_distribution(install, text, match):
    install("shop-wrong", {"shop_wrong.py": text}, {"mine": "shop_wrong:X"})
    with pytest.raises(
        UsageError, match=f"backbone plug-in mine = shop_wrong:X of shop-wrong:? ?.*{match}"
    ):
        find_family("mine")


def test_a_name_that_is_taken_is_refused_naming_both(install):
    install(
        "shop-one",
        {"shop_one.py": FAMILY.format("mine", "")},
        {"bert": "shop_one:X", "mine": "shop_one:X"},
    )
    with pytest.raises(
        UsageError,
        match="bert = shop_one:X of shop-one: model_type bert is also brought by crossan",
    ):
        find_family("bert")
    assert find_family("mine").model_class == "A"
    install("shop-two", {}, {"mine": "shop_one:X"})
    with pytest.raises(
        UsageError, match="model_type mine is also brought by mine = shop_one:X of shop-(one|two)"
    ):
        find_family("mine")
    assert find_family("vit").model_class == "ViTModel"


def test_an_unknown_family_lists_the_plugins(shop, tiny, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    (tmp_path / "model.safetensors").write_bytes(
        (tiny["bert"][1] / "model.safetensors").read_bytes()
    )
    with pytest.raises(
        UsageError,
        match=r"(?s)one of bert, .*vivit, clip \(shop-backbones\), patchnet .*found gpt2.*bring-your-own",
    ):
        load_backbone(Modality.TEXT, str(tmp_path))
    assert plugin_names() == {"clip": "shop-backbones", "patchnet": "shop-backbones"}
