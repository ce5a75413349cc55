"""What one would train with instead: a file per item and modality and a loss that loops over users, as IISAN does."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from encoder_baseline import encoder_before
from torch import Tensor
from train_shape import DIM

from crossan.cache_schema.modality import Modality
from crossan.train.features import FeatureTable
from crossan.train.layers.activation import activate
from crossan.train.layers.iisan_towers import IisanTowers
from crossan.train.models.item_encoder import ItemEncoder
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.sequences.padding import PADDING

__all__ = ["loop_loss", "loss_as_iisan", "loss_from_files", "read_files", "write_files"]

ALL_LAYERS = 13


def write_files(folder: Path, sequences: Tensor) -> None:
    """Write random hidden states of all layers for every item of a batch, a file for each modality."""
    for item in sequences[sequences != PADDING].unique().tolist():
        for modality in Modality:
            torch.save(torch.randn(ALL_LAYERS, DIM), folder / f"{modality.value}-{item}.pt")


def read_files(folder: Path, sequences: Tensor) -> list[Tensor]:
    """Return the hidden states of every position, ``(users * position, 13, DIM)`` per modality, zeros for padding."""
    absent = torch.zeros(ALL_LAYERS, DIM)

    def of(modality: Modality, item: int) -> Tensor:
        if item == PADDING:
            return absent
        states: Tensor = torch.load(folder / f"{modality.value}-{item}.pt", weights_only=True)
        return states

    items = sequences.flatten().tolist()
    return [torch.stack([of(modality, item) for item in items]) for modality in Modality]


def loss_from_files(model: SequenceModel, folder: Path, sequences: Tensor, log_p: Tensor) -> Tensor:
    """Return the loss of a batch by plain modules: every position read, encoded and scored for itself."""
    if model.item_encoder is None:
        raise ValueError("expected a model with an item encoder, got one of ids alone")
    hidden = [states[:, ::2] for states in read_files(folder, sequences)]
    presence = torch.ones(sequences.numel(), len(Modality), dtype=torch.bool)
    vectors = model.item_encoder.plain(hidden, presence).view(*sequences.shape, -1)
    users = model.sequence_encoder(vectors[:, :-1], sequences[:, :-1] != PADDING)
    return loop_loss(users, vectors, sequences, log_p)


def loss_as_iisan(
    model: SequenceModel, features: FeatureTable, sequences: Tensor, log_p: Tensor
) -> Tensor:
    """Return the loss of a batch of IISAN as its cached code computes it, hidden states in RAM.

    Every position is gathered and encoded for itself, padding included; each
    tower and layer is a pair of linear maps of its own; the sequence encoder
    computes padding, and the loss loops over users.
    """
    assert isinstance(model.item_encoder, ItemEncoder)
    towers = model.item_encoder.towers
    assert isinstance(towers, IisanTowers)
    items = sequences.flatten()
    is_real = (items != PADDING)[:, None, None]
    hidden = [
        states.index_select(0, items.clamp(min=0)).float() * is_real for states in features.hidden
    ]
    outputs = _climb_as_iisan(towers, *hidden)
    vectors = model.item_encoder.fusion(outputs, is_real[:, 0].expand(-1, 2))
    vectors = vectors.view(*sequences.shape, -1)
    users = encoder_before(model.sequence_encoder, vectors[:, :-1], sequences[:, :-1] != PADDING)
    return loop_loss(users, vectors, sequences, log_p)


def _climb_as_iisan(towers: IisanTowers, text: Tensor, image: Tensor) -> Tensor:
    """Return the outputs of the three towers, ``(items, tower, width)``, one after the other."""
    states = [torch.zeros_like(text[:, 0]) for _ in range(3)]
    for layer, (gates, adapters) in enumerate(towers._layers()):
        share = (gates.intra_logits / gates.temperature).sigmoid()
        of_image = (gates.inter_logits / gates.temperature).sigmoid()
        inputs = (
            share[0] * text[:, layer] + (1 - share[0]) * states[0],
            share[1] * image[:, layer] + (1 - share[1]) * states[1],
            states[2] + of_image * image[:, layer] + (1 - of_image) * text[:, layer],
        )
        for tower, mixed in enumerate(inputs):
            down = F.linear(mixed, adapters.down[tower].T, adapters.down_bias[tower])
            active = activate(down, adapters.activation)
            states[tower] = mixed + F.linear(active, adapters.up[tower].T, adapters.up_bias[tower])
    heads = towers.heads
    outputs = []
    for tower, state in enumerate(states):
        inner = F.linear(state, heads.inner[tower].T, heads.inner_bias[tower])
        outputs.append(F.linear(inner, heads.outer[tower].T, heads.outer_bias[tower]))
    return torch.stack(outputs, dim=1)


def loop_loss(users: Tensor, vectors: Tensor, sequences: Tensor, log_p: Tensor) -> Tensor:
    """Eqs. 7-8 over all positions, each user's own items masked in place in a loop, as IISAN does.

    ``users``: ``(users, position - 1, width)``; ``vectors``: ``(users, position, width)``.
    """
    length = users.shape[1]
    items = sequences.flatten()
    logits = users.flatten(0, 1) @ vectors.flatten(0, 1).T - log_p[items]
    logits[:, items == PADDING] = -1e4
    for user, own in enumerate(sequences):
        rows = slice(user * length, (user + 1) * length)
        is_own = torch.isin(items, own).repeat(length, 1)
        is_own[torch.arange(length), user * (length + 1) + torch.arange(1, length + 1)] = (
            False  # the positives
        )
        logits[rows] = logits[rows].masked_fill(is_own, -1e4)
    positive = torch.arange(len(sequences)).unsqueeze(1) * (length + 1) + torch.arange(
        1, length + 1
    )
    is_predicting = (sequences[:, :-1] != PADDING) & (sequences[:, 1:] != PADDING)
    return torch.nn.functional.cross_entropy(
        logits[is_predicting.flatten()], positive[is_predicting]
    )
