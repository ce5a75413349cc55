"""Trainable backbones around any transformers model, and their inputs from memory."""

from dataclasses import dataclass
from types import SimpleNamespace

import torch
from transformers import BertConfig, BertModel, ViTConfig, ViTModel

from crossan.cache_schema.modality import Modality
from crossan.extract.backbones.families import FAMILIES
from crossan.extract.trainable import TrainableBackbone

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
