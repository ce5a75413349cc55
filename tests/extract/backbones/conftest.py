"""Tiny random checkpoints of all five families, laid out as hub snapshots."""

import pytest
import torch
import transformers

from crossan.cache_schema.modality import Modality
from crossan.extract.backbones import write_tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Folders by family; ViViT is made here, the others by ``init-tiny``."""
    out = tmp_path_factory.mktemp("tiny")
    folders = write_tiny(out)
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
