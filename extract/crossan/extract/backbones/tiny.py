"""Tiny checkpoints with random weights, for tours and tests.

They are laid out as hub snapshots and load through the same code as real ones.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from crossan.cache_schema.errors import ResourceError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.files import move
from crossan.common.refusals import blaming, make_folder, require_writable
from crossan.extract.backbones.library import transformers

__all__ = ["SHAPE", "vocabulary", "write_tiny"]

# Weights are drawn wider than the customary 0.02: with those a random network passes so little of
# its input on that its pooled states hardly differ between items.
_SPREAD = 0.15
SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 12,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "initializer_range": _SPREAD,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
"""Of a tiny model. Twelve layers, so that half of them are the paper's seven."""
_PICTURE = {"image_size": 32, "num_channels": 3}
_MEL_BINS = 32
_MEL_FRAMES = 304
"""Three seconds at one frame in 10 ms, rounded up to whole patches."""


def write_tiny(out: Path, seed: int = 0) -> dict[Modality, Path]:
    """Write one checkpoint per modality to ``out/{text,image,video,audio}``.

    The same seed gives the same bytes.

    Raises
    ------
    UsageError
        One of the folders is not empty.
    ResourceError
        They cannot be written.
    """
    require_writable(out, f"init-tiny {out}")
    folders = {modality: out / modality.value for modality in Modality}
    # All are checked before one is written, so that a refusal leaves nothing behind.
    for folder in folders.values():
        if folder.exists() and any(folder.iterdir()):
            raise UsageError(
                f"init-tiny {out}: {folder} is not empty",
                remedy=f"crossan backbones init-tiny {out}-new",
            )
    staged = out / f".init-tiny-{os.getpid()}"
    try:
        with blaming(out):
            for modality in folders:
                _write_one(staged / modality.value, modality, seed)
        _publish(staged, list(folders.values()))
    except SafetensorError as error:  # how it says that a file cannot be written
        raise ResourceError(f"cannot write {out}: {error}") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return folders


def _write_one(folder: Path, modality: Modality, seed: int) -> None:
    # The caller's own random numbers go on as if nothing had been drawn.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _MODELS[modality]()
    make_folder(folder)
    model.save_pretrained(folder)
    # safetensors writes files that their owner alone may read. The file beside the weights is as
    # readable as the user's umask lets new files be.
    mode = (folder / "config.json").stat().st_mode
    for weights in folder.glob("*.safetensors"):
        weights.chmod(mode)
    _PROCESSORS[modality](folder)


def _publish(staged: Path, folders: Sequence[Path]) -> None:
    """Move all folders to where they belong, or none: half of them would refuse the next try."""
    moved: list[Path] = []
    try:
        for folder in folders:
            move(staged / folder.name, folder)
            moved.append(folder)
    except OSError:
        for folder in moved:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _text_model() -> Any:  # noqa: ANN401 - untyped library
    config = transformers.BertConfig(
        vocab_size=len(vocabulary()), max_position_embeddings=64, **SHAPE
    )
    return transformers.BertModel(config, add_pooling_layer=False)


def _image_model() -> Any:  # noqa: ANN401
    config = transformers.ViTConfig(patch_size=8, **_PICTURE, **SHAPE)
    return transformers.ViTModel(config, add_pooling_layer=False)


def _audio_model() -> Any:  # noqa: ANN401
    config = transformers.ASTConfig(max_length=_MEL_FRAMES, num_mel_bins=_MEL_BINS, **SHAPE)
    return transformers.ASTModel(config)


def _video_model() -> Any:  # noqa: ANN401
    config = transformers.VideoMAEConfig(patch_size=16, num_frames=16, **_PICTURE, **SHAPE)
    return transformers.VideoMAEModel(config)


def _save_tokenizer(folder: Path) -> None:
    lines = "".join(f"{token}\n" for token in vocabulary())
    (folder / "vocab.txt").write_text(lines, encoding="utf-8")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 64}
    text = json.dumps(settings, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def _save_image_processor(folder: Path) -> None:
    side = _PICTURE["image_size"]
    transformers.ViTImageProcessorPil(size={"height": side, "width": side}).save_pretrained(folder)


def _save_audio_processor(folder: Path) -> None:
    extractor = transformers.ASTFeatureExtractor(num_mel_bins=_MEL_BINS, max_length=_MEL_FRAMES)
    extractor.save_pretrained(folder)


def _save_video_processor(folder: Path) -> None:
    side = _PICTURE["image_size"]
    processor = transformers.VideoMAEImageProcessorPil(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
    processor.save_pretrained(folder)


_MODELS: Mapping[Modality, Callable[[], Any]] = {
    Modality.TEXT: _text_model,
    Modality.IMAGE: _image_model,
    Modality.VIDEO: _video_model,
    Modality.AUDIO: _audio_model,
}
_PROCESSORS: Mapping[Modality, Callable[[Path], None]] = {
    Modality.TEXT: _save_tokenizer,
    Modality.IMAGE: _save_image_processor,
    Modality.VIDEO: _save_video_processor,
    Modality.AUDIO: _save_audio_processor,
}


def vocabulary() -> list[str]:
    """Return a WordPiece vocabulary that cuts any ASCII word into pairs of letters."""
    letters = string.ascii_lowercase + string.digits
    pairs = ["".join(pair) for pair in itertools.product(string.ascii_lowercase, repeat=2)]
    pieces = [*letters, *pairs]
    return [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *string.punctuation,
        *pieces,
        *(f"##{piece}" for piece in pieces),
    ]
