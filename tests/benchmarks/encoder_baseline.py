"""The sequence encoder as it was before it left padding out, for our step to be held against."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from crossan.train.layers.activation import activate
from crossan.train.layers.sequence_encoder import SequenceEncoder
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.objectives.columns import batch_columns
from crossan.train.objectives.loss import debiased_cross_entropy
from crossan.train.sequences.padding import PADDING

__all__ = ["encode_users_padded", "encoder_before", "loss_padded"]

_USERS_PER_BLOCK = 4096


def encoder_before(encoder: SequenceEncoder, item_vectors: Tensor, is_real: Tensor) -> Tensor:
    """Return the user vectors at every position by an encoder's weights.

    Padding is computed as well. Dropout is torch's, one random number an element, and so is
    that of the attention. The result is ``(users, position, width)``.
    """
    users, length, width = item_vectors.shape
    clean = item_vectors.masked_fill(~is_real.unsqueeze(-1), 0.0)
    state = _drop(encoder.dropout, encoder.norm(clean + encoder.positions[-length:]))
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    is_read = ((causal & is_real.unsqueeze(1)) | torch.eye(length, dtype=torch.bool)).unsqueeze(1)
    for block in encoder.blocks:
        query, key, value = (
            linear(state).view(users, length, block.head_count, -1).transpose(1, 2)
            for linear in (block.query, block.key, block.value)
        )
        rate = block.rate if block.training else 0.0
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=is_read, dropout_p=rate
        )
        attended = block.output(attended.transpose(1, 2).reshape(users, length, width))
        state = block.attention_norm(state + _drop(block.dropout, attended))
        wide = _drop(block.inner_dropout, activate(block.widen(state), block.activation))
        state = block.feed_forward_norm(state + _drop(block.dropout, block.narrow(wide)))
    return state


def loss_padded(model: SequenceModel, sequences: Tensor, log_popularity: Tensor) -> Tensor:
    """Return the loss of a batch of a model of ids alone, its users encoded as before."""
    columns = batch_columns(sequences)
    item_vectors = model._with_ids(None, columns.items)
    is_real = sequences[:, :-1] != PADDING
    placed = torch.zeros_like(sequences[:, :-1])
    placed[is_real] = columns.inputs
    users = encoder_before(model.sequence_encoder, F.embedding(placed, item_vectors), is_real)
    return debiased_cross_entropy(
        users.flatten(0, 1).index_select(0, columns.packing.places),
        item_vectors,
        columns.positive,
        columns.user_items,
        log_popularity[columns.items],
        columns.log_multiplicity,
    )


@torch.inference_mode()
def encode_users_padded(model: SequenceModel, item_vectors: Tensor, inputs: Tensor) -> Tensor:
    """Return the user vectors after the last input as before, ``(users, width)``.

    Every block computes every position.
    """
    model.eval()
    parts = []
    for block in inputs.split(_USERS_PER_BLOCK):
        encoded = encoder_before(
            model.sequence_encoder, item_vectors[block.clamp(min=0)], block != PADDING
        )
        parts.append(encoded[:, -1])
    return torch.cat(parts)


def _drop(module: nn.Module, values: Tensor) -> Tensor:
    return F.dropout(values, float(module.rate), module.training)  # type: ignore[arg-type]
