"""The user encoder as a program of `torch.export`."""

from __future__ import annotations

import io

import torch
from torch import Tensor, nn
from torch.export import Dim

from crossan.train.layers.sequence_encoder import SequenceEncoder

__all__ = ["UserEncoder", "program_bytes"]

_EXAMPLE_USERS, _EXAMPLE_ITEMS = 3, 5
"""Sizes of the inputs that the program is traced with; at 0 and 1 torch would fix a size."""
_MOST = 2**31 - 1
"""Users or items at a time. torch 2.6 takes no size without an end."""


class UserEncoder(nn.Module):
    """From the rows of a user's last items to the user's vector.

    Shapes
    ------
    ``rows``: ``(users, input length)`` int64, rows of the item vectors, oldest
    first, -1 on the left where a history is shorter; ``item_vectors``:
    ``(items, width)``; result: ``(users, width)``.
    """

    def __init__(self, sequence_encoder: SequenceEncoder) -> None:
        super().__init__()
        self.sequence_encoder = sequence_encoder

    def forward(self, rows: Tensor, item_vectors: Tensor) -> Tensor:
        """Return the user vectors, ``(users, width)``."""
        states: Tensor = self.sequence_encoder(item_vectors[rows.clamp(min=0)], rows >= 0)
        return states[:, -1]


def program_bytes(encoder: nn.Module, input_length: int, width: int) -> bytes:
    """Return the user encoder as `torch.export.save` writes it, for any number of users and items.

    Parameters
    ----------
    encoder
        A `UserEncoder` with the weights to export, or what is called like one, on the CPU.
    input_length
        Items that it reads.
    width
        Of item vectors and user vectors.
    """
    encoder = encoder.eval()
    rows = torch.zeros(_EXAMPLE_USERS, input_length, dtype=torch.int64)
    item_vectors = torch.zeros(_EXAMPLE_ITEMS, width)
    sizes = {
        "rows": {0: Dim("users", min=1, max=_MOST)},
        "item_vectors": {0: Dim("items", min=1, max=_MOST)},
    }
    with torch.no_grad():
        program = torch.export.export(encoder, (rows, item_vectors), dynamic_shapes=sizes)
    for node in program.graph_module.graph.nodes:
        # Where in our source an operation stands is nobody's business: it names this machine's
        # folders.
        node.meta.pop("stack_trace", None)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()
