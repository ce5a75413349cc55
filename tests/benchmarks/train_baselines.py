"""What one would train with instead: a file per item and modality and a loss that loops over users, as IISAN does."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from train_shape import DIM

from crossan.cache_schema.modality import Modality
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.sequences.padding import PADDING

__all__ = ["loop_loss", "loss_from_files", "read_files", "write_files"]

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
