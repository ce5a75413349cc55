"""The Transformer over the item vectors of one user.

At the paper's sizes it has 100,224 parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from crossan.train.layers.activation import Activation
from crossan.train.layers.byte_dropout import ByteDropout
from crossan.train.layers.packed_attention import (
    PackedAttention,
    attention_mask,
    attention_over,
)
from crossan.train.layers.packing import Packing, positions_read
from crossan.train.layers.sequence_block import INITIAL_STD, NORM_EPS, Norm, SequenceBlock

__all__ = ["EncoderForm", "SequenceEncoder"]


@dataclass(frozen=True, slots=True)
class EncoderForm:
    """How the encoder is composed; by default as the paper's count says."""

    norm: Norm = "post"
    """Where it normalises: after each part of a block and before the first, or before each part and
    after the last."""
    positions: Literal["absolute", "relative"] = "absolute"
    """Whether a vector is added for each position, or a number to attention for each distance."""
    scores: Literal["dot", "cosine"] = "dot"
    """With cosine every user vector has the length 1."""


PAPER_FORM = EncoderForm()


class SequenceEncoder(nn.Module):
    """Turn the item vectors before each position into the user vector at that position.

    Learned positions and a LayerNorm come first, then post-norm blocks of
    causal attention (Q, K, V, O without bias) and a feed-forward net of width
    ``4 * width`` with bias: the composition that gives the paper's count. `EncoderForm`
    has others. In pre-norm the first LayerNorm is the last instead. Relative positions are one
    learned number per head and distance, which every block adds to its attention scores (as
    Raffel et al., JMLR 2020, section 2.1, with a bucket for each distance); they begin at zero.
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
    form
        How it is composed.
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
        form: EncoderForm = PAPER_FORM,
        follows_iisan: bool = False,
    ) -> None:
        super().__init__()
        self.form, self._length = form, input_length
        if form.positions == "absolute":
            self.positions = nn.Parameter(torch.randn(input_length, width) * INITIAL_STD)
        else:
            self.distances = nn.Parameter(torch.zeros(input_length, head_count))
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.dropout = ByteDropout(dropout)
        self._head_count = head_count
        inner_dropout = 0.0 if follows_iisan else dropout
        self.blocks = nn.ModuleList(
            SequenceBlock(width, head_count, dropout, inner_dropout, activation, form.norm)
            for _ in range(block_count)
        )
        if follows_iisan:
            self._draw_as_iisan()

    def forward(self, item_vectors: Tensor, is_real: Tensor) -> Tensor:
        """Return the user vectors at every position, shape ``(users, position, width)``."""
        length = is_real.shape[1]
        clean = item_vectors.masked_fill(~is_real.unsqueeze(-1), 0.0)
        positions = self._positions(length)
        state = self._begin(clean if positions is None else clean + positions)
        mask, bias = positions_read(is_real).unsqueeze(1), self._distance_bias(length)
        if bias is not None:
            mask = attention_mask(mask, bias)
        for block in self.blocks:
            state = block(state, mask)
        return self._end(state)

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
        return self._end(state)

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
        bias = self._distance_bias(packing.is_real.shape[1])
        of_last = None if bias is None else bias[:, -1]
        vectors = self._end(last_block.last(state, ends, packing, of_last))
        is_empty = counts == 0
        if is_empty.any():
            return vectors.where(~is_empty.unsqueeze(1), self._after_nothing(item_vectors))
        return vectors

    def _typed_blocks(self) -> list[SequenceBlock]:
        return cast("list[SequenceBlock]", list(self.blocks))

    def _positions(self, length: int) -> Tensor | None:
        """Return the vectors of the last positions, ``(length, width)``, None where none is added.

        They are counted from the end: sequences are padded on the left, so a shorter
        batch must give the last item the same position as a longer one.
        """
        if length > self._length:
            raise ValueError(f"expected at most {self._length} positions, got {length}")
        return self.positions[-length:] if self.form.positions == "absolute" else None

    def _distance_bias(self, length: int) -> Tensor | None:
        """Return what is added to the score of a position for each that it may read.

        The result is ``(heads, position, position)``, None with absolute positions. A later
        position is nobody's to read; it has the number of the distance 0.
        """
        if self.form.positions == "absolute":
            return None
        places = torch.arange(length, device=self.distances.device)
        distances = (places.unsqueeze(1) - places).clamp(min=0)
        return F.embedding(distances, self.distances).permute(2, 0, 1)

    def _first_state(self, item_vectors: Tensor, packing: Packing) -> Tensor:
        length = packing.is_real.shape[1]
        vectors = self._positions(length)
        if vectors is None:
            return self._begin(item_vectors)
        return self._begin(item_vectors + F.embedding(packing.places % length, vectors))

    def _begin(self, state: Tensor) -> Tensor:
        begun: Tensor = self.dropout(self.norm(state) if self.form.norm == "post" else state)
        return begun

    def _end(self, state: Tensor) -> Tensor:
        state = self.norm(state) if self.form.norm == "pre" else state
        return F.normalize(state, dim=-1) if self.form.scores == "cosine" else state

    def _attention(self, packing: Packing, dtype: torch.dtype) -> PackedAttention:
        bias = self._distance_bias(packing.is_real.shape[1])
        return attention_over(packing, self._head_count, dtype, bias)

    def _after_nothing(self, like: Tensor) -> Tensor:
        """Return the user vector of nothing but padding, ``(1, width)``."""
        nothing = like.new_zeros(1, 1, len(self.norm.weight))
        result: Tensor = self(nothing, torch.zeros(1, 1, dtype=torch.bool, device=like.device))
        return result[0]

    def _draw_as_iisan(self) -> None:
        if self.form.positions == "absolute":
            nn.init.xavier_normal_(self.positions)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
