"""Tiny random checkpoints of all five families, laid out as hub snapshots."""

import json
import shutil

import pytest
import torch
import transformers

from crossan.cache_schema.modality import Modality
from support.checkpoints import write_small


@pytest.fixture(scope="session")
def tiny(tiny_backbones, tmp_path_factory):
    """Folders by family; ViViT is made here, the others by ``init-tiny``."""
    folders = {modality: tiny_backbones / modality.value for modality in Modality}
    out = tmp_path_factory.mktemp("vivit")
    torch.manual_seed(0)
    config = transformers.VivitConfig(
        image_size=32, num_frames=4, tubelet_size=[2, 8, 8], hidden_size=32, num_hidden_layers=3,
        num_attention_heads=2, intermediate_size=64,
    )  # fmt: skip
    transformers.VivitModel(config, add_pooling_layer=False).save_pretrained(out / "vivit")
    transformers.VivitImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(out / "vivit")
    return {
        "bert": (Modality.TEXT, folders[Modality.TEXT]),
        "vit": (Modality.IMAGE, folders[Modality.IMAGE]),
        "audio-spectrogram-transformer": (Modality.AUDIO, folders[Modality.AUDIO]),
        "videomae": (Modality.VIDEO, folders[Modality.VIDEO]),
        "vivit": (Modality.VIDEO, out / "vivit"),
    }


@pytest.fixture(scope="session")
def small(once):
    return once("small-checkpoints", write_small)


@pytest.fixture
def changed_copy(small, tmp_path):
    """Return a function that copies the checkpoint of this name, with some of a file's JSON changed."""

    def copy(name, file="config.json", **changes):
        folder = tmp_path / name
        shutil.copytree(small / name, folder, dirs_exist_ok=True)
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(content | changes))
        return folder

    return copy
