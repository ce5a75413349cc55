"""One block of the Transformer over the item vectors of a user."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from crossan.train.layers.activation import Activation, activate
from crossan.train.layers.byte_dropout import ByteDropout
from crossan.train.layers.packed_attention import PackedAttention, attention_mask
from crossan.train.layers.packing import Packing

__all__ = ["INITIAL_STD", "NORM_EPS", "Norm", "SequenceBlock"]

Norm = Literal["post", "pre"]
"""Where a block normalises."""

INITIAL_STD = 0.02
NORM_EPS = 1e-6


class SequenceBlock(nn.Module):
    """Causal attention and a feed-forward net, each added to what it reads.

    Parameters
    ----------
    width, head_count
        Width of a state, and attention heads.
    dropout, inner_dropout
        Rates, the second of the one inside the feed-forward net.
    activation
        Inside the feed-forward net.
    norm
        Whether what is added to is normalised after each of the two, or what they read before.
    """

    def __init__(
        self,
        width: int,
        head_count: int,
        dropout: float,
        inner_dropout: float,
        activation: Activation,
        norm: Norm,
    ) -> None:
        super().__init__()
        if width % head_count:
            raise ValueError(f"expected a width divisible by the {head_count} heads, got {width}")
        self.head_count, self.rate = head_count, dropout
        self.query, self.key, self.value, self.output = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )
        self.attention_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.feed_forward_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.dropout, self.inner_dropout = ByteDropout(dropout), ByteDropout(inner_dropout)
        self.activation: Activation = activation
        self.norms_first = norm == "pre"
        for linear in (self.query, self.key, self.value, self.output, self.widen, self.narrow):
            nn.init.normal_(linear.weight, std=INITIAL_STD)
        nn.init.zeros_(self.widen.bias)
        nn.init.zeros_(self.narrow.bias)

    def forward(self, state: Tensor, mask: Tensor) -> Tensor:
        """Return the state of the next block, ``(users, position, width)`` as the given one.

        ``mask`` is what torch's attention takes: true where a position is read, or a number that is
        added to the score of each two, ``(users, 1 or heads, position, position)``.
        """
        users, length, width = state.shape
        head_width = width // self.head_count
        read = self._read(state)
        query, key, value = (
            linear(read).view(users, length, self.head_count, head_width).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=self._rate_now
        )
        return self._feed(state, attended.transpose(1, 2).reshape(users, length, width))

    def packed(self, state: Tensor, attend: PackedAttention) -> Tensor:
        """Return the state of the next block, ``(real, width)`` as the given one."""
        weights = torch.cat([self.query.weight, self.key.weight, self.value.weight])
        return self._feed(state, attend(F.linear(self._read(state), weights), self._rate_now))

    def last(
        self, state: Tensor, ends: Tensor, packing: Packing, bias: Tensor | None = None
    ) -> Tensor:
        """Return the state of some rows alone, the last of each user, ``(users, width)``.

        Parameters
        ----------
        state
            ``(real, width)``.
        ends
            The last row of each user, ``(users,)``.
        packing
            Where rows stand.
        bias
            What is added to the scores of the last position, ``(heads, position)``.
        """
        (users, length), width = packing.is_real.shape, state.shape[1]
        head_width = width // self.head_count
        last_state = F.embedding(ends, state)
        query = self.query(self._read(last_state)).view(users, self.head_count, 1, head_width)
        read = F.linear(self._read(state), torch.cat([self.key.weight, self.value.weight]))
        key, value = (
            packing.padded(read)
            .view(users, length, 2, self.head_count, head_width)
            .permute(2, 0, 3, 1, 4)
        )
        # Of a user without any real position the softmax would be over nothing, which is NaN.
        is_read = packing.is_real.clone()
        is_read[:, -1] = True
        mask = is_read.view(users, 1, 1, length)
        if bias is not None:
            mask = attention_mask(mask, bias.unsqueeze(1))
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=self._rate_now
        )
        return self._feed(last_state, attended.reshape(users, width))

    @property
    def _rate_now(self) -> float:
        return self.rate if self.training else 0.0

    def _read(self, state: Tensor) -> Tensor:
        """Return what attention reads of a state."""
        read: Tensor = self.attention_norm(state) if self.norms_first else state
        return read

    def _feed(self, state: Tensor, attended: Tensor) -> Tensor:
        """Return what a block makes of its input and what that attends to, of the same shape."""
        state = state + self.dropout(self.output(attended))
        if not self.norms_first:
            state = self.attention_norm(state)
        read = self.feed_forward_norm(state) if self.norms_first else state
        wide = self.inner_dropout(activate(self.widen(read), self.activation))
        result: Tensor = state + self.dropout(self.narrow(wide))
        return result if self.norms_first else self.feed_forward_norm(result)
