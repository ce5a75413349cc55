"""Checkpoints of the size of the paper's backbones, or of their small relatives, with random weights.

The arithmetic of a forward does not depend on what the weights are, so these
stand in for the real ones where no hub can be reached.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers

from crossan.cache_schema.modality import Modality
from crossan.extract.backbones.tiny import vocabulary

__all__ = ["SIZES", "write_backbone"]

SIZES: dict[str, dict[str, int]] = {
    "base": {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    },
    "small": {
        "hidden_size": 384,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "intermediate_size": 1536,
    },
    "tiny": {
        "hidden_size": 192,
        "num_hidden_layers": 12,
        "num_attention_heads": 3,
        "intermediate_size": 768,
    },
}
"""``base`` is the paper's; the others have its token counts and are those of DeiT."""


def write_backbone(modality: Modality, size: str, folder: Path) -> Path:
    """Write one checkpoint with its tokeniser or processor, laid out as a hub snapshot; return its folder."""
    target = folder / f"{modality.value}-{size}"
    if target.exists():
        return target
    torch.manual_seed(0)
    model, processor = _parts(modality, SIZES[size])
    model.save_pretrained(target)
    if processor is not None:
        processor.save_pretrained(target)
    elif "CROSSAN_TEST_DATA" in os.environ:
        known = Path(os.environ["CROSSAN_TEST_DATA"]) / "bert_vocab"
        for name in ("vocab.txt", "tokenizer_config.json"):
            shutil.copy(known / name, target / name)
    else:
        # Where the real vocabulary is not to be had: titles become more tokens than with it.
        (target / "vocab.txt").write_text("\n".join(vocabulary()), encoding="utf-8")
    return target


def _parts(modality: Modality, shape: dict[str, int]) -> tuple[Any, Any]:
    if modality is Modality.TEXT:
        return transformers.BertModel(
            transformers.BertConfig(**shape), add_pooling_layer=False
        ), None
    if modality is Modality.IMAGE:
        config = transformers.ViTConfig(**shape)
        return transformers.ViTModel(
            config, add_pooling_layer=False
        ), transformers.ViTImageProcessorPil()
    if modality is Modality.AUDIO:
        return transformers.ASTModel(
            transformers.ASTConfig(**shape)
        ), transformers.ASTFeatureExtractor()
    config = transformers.VideoMAEConfig(**shape)
    return transformers.VideoMAEModel(config), transformers.VideoMAEImageProcessorPil()
