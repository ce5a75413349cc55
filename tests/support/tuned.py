"""Trainable backbones around any transformers model, and their inputs from memory."""

import atexit
import json
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn
from transformers import BertConfig, BertModel, ViTConfig, ViTImageProcessorPil, ViTModel

from crossan.cache_schema.modality import Modality
from crossan.extract.backbones.families import FAMILIES
from crossan.extract.backbones.tiny import SHAPE, vocabulary
from crossan.extract.trainable import TrainableBackbone
from crossan.train.features.raw_inputs import RawInputs

FAMILY = {Modality.TEXT: "bert", Modality.IMAGE: "vit"}


@dataclass(frozen=True)
class Arrays:
    """Model inputs of some items, as the encoder reads them."""

    items: list

    def read(self, positions):
        return [self.items[position] for position in positions]


def around(make_model, modality, pooling="cls"):
    """Return a trainable backbone around what ``make_model`` makes, new each time it is taken."""
    family = FAMILIES[FAMILY[modality]]

    def load():
        model = make_model()
        return SimpleNamespace(
            family_of_checkpoint=family,
            modality=modality,
            dim=model.config.hidden_size,
            pooling=pooling,
            processing=SimpleNamespace(finish=None),
            model=model.requires_grad_(False),
        )

    return TrainableBackbone(load)


def tiny(modality, *, layers=2, width=8, dropout=0.0, seed=0):
    """Return a tiny BERT or ViT with weights that let much of an input through."""
    shape = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 2 * width,
        "initializer_range": 0.2,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
        "attn_implementation": "sdpa",
    }

    def make_model():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if modality is Modality.TEXT:
                config = BertConfig(vocab_size=20, max_position_embeddings=16, **shape)
                return BertModel(config, add_pooling_layer=False)
            config = ViTConfig(patch_size=8, image_size=16, num_channels=3, **shape)
            return ViTModel(config, add_pooling_layer=False)

    return around(make_model, modality)


def tiny_arrays(modality, count, generator):
    """Return inputs of some items for `tiny`, titles of different lengths among them."""
    if modality is Modality.TEXT:
        lengths = torch.randint(2, 9, (count,), generator=generator).tolist()
        return Arrays(
            [
                {"input_ids": torch.randint(1, 20, (length,), generator=generator).int().numpy()}
                for length in lengths
            ]
        )
    return Arrays(
        [
            {"pixel_values": torch.randn(3, 16, 16, generator=generator).numpy()}
            for _ in range(count)
        ]
    )


class States(nn.Module):
    """Stands for a backbone where hidden states are at hand: a linear layer over the last of them."""

    def __init__(self, dim):
        super().__init__()
        self.model = nn.Sequential(nn.Linear(dim, dim), nn.Dropout(0.0))

    def forward(self, batch):
        states = torch.stack([torch.from_numpy(each["states"]) for each in batch])
        return self.model(states.to(self.model[0].weight.dtype))


def raw_of(features):
    """Return the inputs of backbones that read the last hidden states of a feature table."""

    def source(modality, states):
        backbone = SimpleNamespace(
            modality=modality,
            dim=states.shape[2],
            take_module=lambda: States(states.shape[2]),
            outputs=("model.1",),
            projections=("model.0",),
        )
        store = SimpleNamespace(read=lambda row: {"states": states[row, -1].numpy()})
        return SimpleNamespace(backbone=backbone, store=store)

    pairs = zip(features.modalities, features.hidden, strict=True)
    sources = tuple(source(modality, states) for modality, states in pairs)
    records = tuple(
        [row if is_there else None for row, is_there in enumerate(column)]
        for column in features.presence.T.tolist()
    )
    return RawInputs(features.modalities, sources, features.presence, records)


@cache
def checkpoint_of(modality):
    """Return the folder of a checkpoint of two layers that load as any other, gone with the process."""
    folder = Path(tempfile.mkdtemp(prefix="crossan-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shape = {**SHAPE, "num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 32}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if modality is Modality.TEXT:
            config = BertConfig(vocab_size=len(vocabulary()), max_position_embeddings=64, **shape)
            BertModel(config, add_pooling_layer=False).save_pretrained(folder)
        else:
            config = ViTConfig(image_size=16, patch_size=8, num_channels=3, **shape)
            ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    if modality is Modality.TEXT:
        (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in vocabulary()))
        settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    else:
        ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder
