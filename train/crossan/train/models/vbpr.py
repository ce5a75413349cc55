r"""VBPR, matrix factorisation that sees the content of items (He and McAuley, 2016).

With :math:`f_i` the hidden states of item i, the score of Eq. 4 of that paper is

.. math:: s_{ui} = \beta_i + \gamma_u^T \gamma_i + \theta_u^T E f_i + \beta'^T f_i,

without the global offset and the user's own, which change no user's order, and the
loss that of Bayesian personalised ranking for a user u, an item i of theirs and
another item j,

.. math:: L = -\ln \sigma(s_{ui} - s_{uj}).

What differs from the publication:

- :math:`f_i` is the highest kept layer of any number of modalities side by side,
  each divided by its length, in place of one CNN's 4096 numbers as they are.
- All weights decay alike, by AdamW (``optimiser.weight_decay``), in place of SGD with
  an L2 term on the weights of each triple.
- An item that training never saw has no :math:`\gamma_i` and no :math:`\beta_i`: it is
  scored by its content alone.
- The other item of a triple is drawn from the items that occur in training.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from crossan.train.features.whole import last_layers
from crossan.train.models.recommender import ModelContext, ParameterGroups
from crossan.train.settings import VbprSettings

__all__ = ["Vbpr", "build"]

_INITIAL_STD = 0.1
"""Not smaller: the gradient of one vector of a product is the other one."""


class Vbpr(nn.Module):
    """Score items by a user's vector times free and projected vectors of items.

    Parameters
    ----------
    content
        Hidden states, ``(items, dim)``.
    is_trained
        Whether an item occurs in any training part, ``(items,)`` bool.
    user_count
        Users, each of which has a vector.
    width, content_width
        Widths of the free vectors and of the projection.
    """

    content: Tensor

    def __init__(
        self,
        content: Tensor,
        is_trained: Tensor,
        user_count: int,
        width: int,
        content_width: int,
    ) -> None:
        super().__init__()
        # They are the stores', no weights: a checkpoint leaves them out.
        self.register_buffer("content", content, persistent=False)
        self.users = nn.Parameter(torch.randn(user_count, width + content_width) * _INITIAL_STD)
        drawn = torch.randn(len(is_trained), width) * _INITIAL_STD
        self.items = nn.Parameter(drawn.masked_fill(~is_trained.unsqueeze(1), 0.0))
        self.biases = nn.Parameter(torch.zeros(len(is_trained), 1))
        self.projection = nn.Linear(content.shape[1], content_width, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(content.shape[1], 1))

    def propagate(self) -> tuple[Tensor, Tensor]:
        """Return the vectors of users and items, whose last column adds the items' biases."""
        everything = torch.arange(len(self.items), device=self.items.device)
        return F.pad(self.users, (0, 1), value=1.0), self._item_vectors(everything)

    def loss(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """Return the mean of -ln sigma over triples, each ``(triples,)`` rows."""
        user_vectors = F.pad(F.embedding(users, self.users), (0, 1), value=1.0)
        differences = self._item_vectors(items) - self._item_vectors(others)
        return F.softplus(-(user_vectors * differences).sum(dim=1)).mean()

    def begin_epoch(self, epoch: int) -> None:
        """Do nothing, as no epoch differs from another."""

    def parameter_groups(self) -> ParameterGroups:
        """Return the vectors of ids, and the projection and bias of content apart from them."""
        ids: list[nn.Parameter] = [self.users, self.items, self.biases]
        return ParameterGroups([*self.projection.parameters(), self.content_bias], ids=ids)

    def item_rows(self) -> tuple[str, ...]:
        """Return the names of the free vectors and biases of items."""
        return ("items", "biases")

    def _item_vectors(self, rows: Tensor) -> Tensor:
        """Return the vectors of some items, ``(rows, width + content width + 1)``."""
        content = self.content[rows]
        bias = F.embedding(rows, self.biases) + content @ self.content_bias
        return torch.cat([F.embedding(rows, self.items), self.projection(content), bias], dim=1)


def build(settings: VbprSettings, context: ModelContext) -> Vbpr:
    """Build the model with random weights for the users, items and stores of a run."""
    return Vbpr(
        last_layers(context.features),
        context.is_trained(),
        len(context.seen.user_ids),
        settings.width,
        settings.content_width,
    )
