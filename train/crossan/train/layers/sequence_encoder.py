"""The Transformer over the item vectors of one user.

At the paper's sizes it has 100,224 parameters.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from crossan.train.layers.activation import Activation, activate
from crossan.train.layers.byte_dropout import ByteDropout
from crossan.train.layers.packed_attention import PackedAttention, attention_over
from crossan.train.layers.packing import Packing, positions_read

__all__ = ["SequenceEncoder"]

_INITIAL_STD = 0.02
_NORM_EPS = 1e-6


class SequenceEncoder(nn.Module):
    """Turn the item vectors before each position into the user vector at that position.

    Learned positions and a LayerNorm come first, then post-norm blocks of
    causal attention (Q, K, V, O without bias) and a feed-forward net of width
    ``4 * width`` with bias: the composition that gives the paper's count.
    Sequences are padded on the left, as in IISAN, so the last item always
    stands at the last position.

    There are three ways through it, with the same numbers. `forward` computes every
    position, padding included; it has only operations that can be exported, and the
    other two are tested against it. `packed` computes the real positions and `last` of
    the last block only the last position.

    Parameters
    ----------
    width
        Width of item and user vectors.
    input_length
        Positions.
    block_count, head_count
        Transformer blocks, and attention heads in each.
    dropout
        Rate of every dropout.
    activation
        Inside the feed-forward nets; the paper names none.
    follows_iisan
        Whether to begin and to drop out as IISAN's code does: weights and
        positions xavier normal in place of normal(0, 0.02), and no dropout
        inside the feed-forward net. The parameters are the same.

    Shapes
    ------
    ``item_vectors``: ``(users, position, width)``; ``is_real``:
    ``(users, position)`` bool, False for padding; result like
    ``item_vectors``. Padding positions are never read, and the numbers at them
    in the result have no meaning.
    """

    def __init__(
        self,
        width: int,
        input_length: int,
        block_count: int,
        head_count: int,
        dropout: float,
        activation: Activation = "gelu",
        *,
        follows_iisan: bool = False,
    ) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(input_length, width) * _INITIAL_STD)
        self.norm = nn.LayerNorm(width, eps=_NORM_EPS)
        self.dropout = ByteDropout(dropout)
        self._head_count = head_count
        inner_dropout = 0.0 if follows_iisan else dropout
        self.blocks = nn.ModuleList(
            _Block(width, head_count, dropout, inner_dropout, activation)
            for _ in range(block_count)
        )
        if follows_iisan:
            self._draw_as_iisan()

    def forward(self, item_vectors: Tensor, is_real: Tensor) -> Tensor:
        """Return the user vectors at every position, shape ``(users, position, width)``."""
        clean = item_vectors.masked_fill(~is_real.unsqueeze(-1), 0.0)
        state: Tensor = self.dropout(self.norm(clean + self._positions(is_real.shape[1])))
        is_read = positions_read(is_real).unsqueeze(1)
        for block in self.blocks:
            state = block(state, is_read)
        return state

    def packed(self, item_vectors: Tensor, packing: Packing) -> Tensor:
        """Return the user vectors at the real positions, in the order of the rows.

        Parameters
        ----------
        item_vectors
            One for each real position, ``(real, width)``.
        packing
            Where they stand.

        Returns
        -------
        Tensor
            ``(real, width)``.
        """
        state = self._first_state(item_vectors, packing)
        attend = self._attention(packing, state.dtype)
        for block in self._typed_blocks():
            state = block.packed(state, attend)
        return state

    def last(self, item_vectors: Tensor, packing: Packing) -> Tensor:
        """Return the user vectors at the last position alone, ``(users, width)``.

        A user without any real position gets what `forward` gives for nothing but
        padding, the same vector for all of them. Parameters are as for `packed`.
        """
        counts = packing.is_real.sum(dim=1)
        if not len(item_vectors):
            return self._after_nothing(item_vectors).expand(len(counts), -1)
        state = self._first_state(item_vectors, packing)
        *blocks, last_block = self._typed_blocks()
        if blocks:
            attend = self._attention(packing, state.dtype)
            for block in blocks:
                state = block.packed(state, attend)
        ends = (counts.cumsum(0) - 1).clamp(min=0)
        vectors = last_block.last(state, ends, packing)
        is_empty = counts == 0
        if is_empty.any():
            return vectors.where(~is_empty.unsqueeze(1), self._after_nothing(item_vectors))
        return vectors

    def _typed_blocks(self) -> list[_Block]:
        return cast("list[_Block]", list(self.blocks))

    def _positions(self, length: int) -> Tensor:
        """Return the vectors of the last positions, ``(length, width)``.

        They are counted from the end: sequences are padded on the left, so a shorter
        batch must give the last item the same position as a longer one.
        """
        if length > len(self.positions):
            raise ValueError(f"expected at most {len(self.positions)} positions, got {length}")
        return self.positions[-length:]

    def _first_state(self, item_vectors: Tensor, packing: Packing) -> Tensor:
        length = packing.is_real.shape[1]
        positions = F.embedding(packing.places % length, self._positions(length))
        state: Tensor = self.dropout(self.norm(item_vectors + positions))
        return state

    def _attention(self, packing: Packing, dtype: torch.dtype) -> PackedAttention:
        return attention_over(packing, self._head_count, dtype)

    def _after_nothing(self, like: Tensor) -> Tensor:
        """Return the user vector of nothing but padding, ``(1, width)``."""
        nothing = like.new_zeros(1, 1, self.positions.shape[1])
        result: Tensor = self(nothing, torch.zeros(1, 1, dtype=torch.bool, device=like.device))
        return result[0]

    def _draw_as_iisan(self) -> None:
        nn.init.xavier_normal_(self.positions)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)


class _Block(nn.Module):
    def __init__(
        self,
        width: int,
        head_count: int,
        dropout: float,
        inner_dropout: float,
        activation: Activation,
    ) -> None:
        super().__init__()
        if width % head_count:
            raise ValueError(f"expected a width divisible by the {head_count} heads, got {width}")
        self.head_count, self.rate = head_count, dropout
        self.query, self.key, self.value, self.output = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )
        self.attention_norm = nn.LayerNorm(width, eps=_NORM_EPS)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.feed_forward_norm = nn.LayerNorm(width, eps=_NORM_EPS)
        self.dropout, self.inner_dropout = ByteDropout(dropout), ByteDropout(inner_dropout)
        self.activation: Activation = activation
        for linear in (self.query, self.key, self.value, self.output, self.widen, self.narrow):
            nn.init.normal_(linear.weight, std=_INITIAL_STD)
        nn.init.zeros_(self.widen.bias)
        nn.init.zeros_(self.narrow.bias)

    def forward(self, state: Tensor, is_read: Tensor) -> Tensor:
        users, length, width = state.shape
        head_width = width // self.head_count
        query, key, value = (
            linear(state).view(users, length, self.head_count, head_width).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=is_read, dropout_p=self._rate_now
        )
        return self._feed(state, attended.transpose(1, 2).reshape(users, length, width))

    def packed(self, state: Tensor, attend: PackedAttention) -> Tensor:
        """Return the state of the next block, ``(real, width)`` as the given one."""
        weights = torch.cat([self.query.weight, self.key.weight, self.value.weight])
        return self._feed(state, attend(F.linear(state, weights), self._rate_now))

    def last(self, state: Tensor, ends: Tensor, packing: Packing) -> Tensor:
        """Return the state of some rows alone, the last of each user, ``(users, width)``."""
        (users, length), width = packing.is_real.shape, state.shape[1]
        head_width = width // self.head_count
        last_state = F.embedding(ends, state)
        query = self.query(last_state).view(users, self.head_count, 1, head_width)
        read = F.linear(state, torch.cat([self.key.weight, self.value.weight]))
        key, value = (
            packing.padded(read)
            .view(users, length, 2, self.head_count, head_width)
            .permute(2, 0, 3, 1, 4)
        )
        # Of a user without any real position the softmax would be over nothing, which is NaN.
        is_read = packing.is_real.clone()
        is_read[:, -1] = True
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=is_read.view(users, 1, 1, length), dropout_p=self._rate_now
        )
        return self._feed(last_state, attended.reshape(users, width))

    @property
    def _rate_now(self) -> float:
        return self.rate if self.training else 0.0

    def _feed(self, state: Tensor, attended: Tensor) -> Tensor:
        """Return what a block makes of its input and what that attends to, of the same shape."""
        state = self.attention_norm(state + self.dropout(self.output(attended)))
        wide = self.inner_dropout(activate(self.widen(state), self.activation))
        result: Tensor = self.feed_forward_norm(state + self.dropout(self.narrow(wide)))
        return result
