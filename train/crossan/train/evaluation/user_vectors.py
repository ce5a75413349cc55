"""User vectors from what users had, in blocks that fit a cache."""

from __future__ import annotations

import torch
from torch import Tensor

from crossan.train.layers.packing import Packing
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.sequences.padding import PADDING

__all__ = ["encode_users"]

_WIDEST = 4
"""Widest tensor that a user is encoded by, as a multiple of the vectors of its input."""
_CPU_STATE_BYTES = 4 << 20
"""Size of that tensor for the users encoded at a time on a CPU, which its cache holds."""
_STATE_BYTES = 256 << 20
"""The same on an accelerator."""


@torch.inference_mode()
def encode_users(model: SequenceModel, item_vectors: Tensor, inputs: Tensor) -> Tensor:
    """Return the user vector after the last input, ``(users, width)``.

    Inputs are ``(users, input length)`` catalogue rows padded on the left. They lie
    best on the CPU, wherever the vectors are: what to read is worked out there.
    """
    model.eval()
    device = item_vectors.device
    whole = item_vectors.new_empty(len(inputs), item_vectors.shape[1])
    first = 0
    for block in inputs.split(_users_per_block(inputs.shape[1], item_vectors)):
        is_real = block != PADDING
        read = item_vectors.index_select(0, block[is_real].to(device))
        packing = Packing.of(is_real).to(device)
        whole[first : first + len(block)] = model.sequence_encoder.last(read, packing)
        first += len(block)
    return whole


def _users_per_block(length: int, item_vectors: Tensor) -> int:
    """Return for how many users the widest tensor of the encoder is small enough."""
    per_user = length * item_vectors.shape[1] * item_vectors.element_size() * _WIDEST
    is_cpu = item_vectors.device.type == "cpu"
    return max(1, (_CPU_STATE_BYTES if is_cpu else _STATE_BYTES) // per_user)
