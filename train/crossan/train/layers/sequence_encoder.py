"""The Transformer over the item vectors of one user.

At the paper's sizes it has 100,224 parameters.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from crossan.train.layers.activation import Activation, activate

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
        self.dropout = nn.Dropout(dropout)
        inner_dropout = 0.0 if follows_iisan else dropout
        self.blocks = nn.ModuleList(
            _Block(width, head_count, dropout, inner_dropout, activation)
            for _ in range(block_count)
        )
        if follows_iisan:
            self._draw_as_iisan()

    def forward(self, item_vectors: Tensor, is_real: Tensor) -> Tensor:
        """Return the user vectors at every position, shape ``(users, position, width)``."""
        length = item_vectors.shape[1]
        if length > len(self.positions):
            raise ValueError(f"expected at most {len(self.positions)} positions, got {length}")
        clean = item_vectors.masked_fill(~is_real.unsqueeze(-1), 0.0)
        # Counted from the end: sequences are padded on the left, so a shorter batch must give the
        # last item the same position as a longer one.
        state: Tensor = self.dropout(self.norm(clean + self.positions[-length:]))
        causal = torch.ones(length, length, dtype=torch.bool, device=is_real.device).tril()
        itself = torch.eye(length, dtype=torch.bool, device=is_real.device)
        # A padding position reads itself, because a softmax over nothing is NaN. No real position
        # reads a padding position.
        is_read = ((causal & is_real.unsqueeze(1)) | itself).unsqueeze(1)
        for block in self.blocks:
            state = block(state, is_read)
        return state

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
        self.dropout, self.inner_dropout = nn.Dropout(dropout), nn.Dropout(inner_dropout)
        self.activation: Activation = activation
        for linear in (self.query, self.key, self.value, self.output, self.widen, self.narrow):
            nn.init.normal_(linear.weight, std=_INITIAL_STD)
        nn.init.zeros_(self.widen.bias)
        nn.init.zeros_(self.narrow.bias)

    def forward(self, state: Tensor, is_read: Tensor) -> Tensor:
        users, length, width = state.shape
        query, key, value = (
            linear(state).view(users, length, self.head_count, -1).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        rate = self.rate if self.training else 0.0
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=is_read, dropout_p=rate
        )
        attended = self.output(attended.transpose(1, 2).reshape(users, length, width))
        state = self.attention_norm(state + self.dropout(attended))
        wide = self.inner_dropout(activate(self.widen(state), self.activation))
        result: Tensor = self.feed_forward_norm(state + self.dropout(self.narrow(wide)))
        return result
