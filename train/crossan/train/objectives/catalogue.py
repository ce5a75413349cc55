r"""Full softmax over the catalogue: every trained item that is not the user's own is a negative.

With C the items that some training part holds, :math:`I_u` the user's training
items as in Eq. 7, and :math:`\hat y_{uj} = \langle e_u, z_j \rangle`,

.. math:: L = -\frac{1}{n} \sum_{(u, i)} \log
   \frac{\exp \hat y_{ui}}{\exp \hat y_{ui} + \sum_{j \in C \setminus I_u} \exp \hat y_{uj}}.

Nothing is sampled, so there is nothing to correct: no popularity enters. An
item outside C has no positive to weigh against being everybody's negative, and
is left out.

An item vector is :math:`z_j = e_j + v_j` (`crossan.train.id_embedding`). The
ids' part :math:`v_j` is read as it is and gets its whole gradient, in and
outside the batch: with ``model.content=false`` the objective is exact. The
content :math:`e_j` of every item would cost an encoding of the catalogue per
step; it is **stale** instead: fresh, with gradient, for the items of the batch,
and for all others a constant from the step that last had the item in its batch,
or that last encoded the whole catalogue: every ``objective.refresh_steps``, the
first step included. The gradient through these others' content is left out.

Cost beside in-batch: logits over the catalogue instead of the batch's items, one
encoding of the catalogue per refresh, and in memory three times ``(items,
width)``: the table, the vectors of a step, their gradient. A block of logits
takes as many predictions as fit (`crossan.train.loss`), one at least.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from crossan.train.features import Features, Fetched
from crossan.train.loss import PADDING, columns_to_predict, debiased_loss_of_batch
from crossan.train.model import Crossan, ItemEncoder
from crossan.train.step import Prepared

__all__ = ["CatalogueSoftmax"]

_ITEMS_PER_BLOCK = 1024


class CatalogueSoftmax:
    """Full softmax over the trained items; remembers a content vector per item, and how old the oldest is.

    Parameters
    ----------
    training_rows
        Catalogue rows of all training parts, `PADDING` between, any shape.
    item_count
        Items of the catalogue.
    refresh_steps
        Steps between two encodings of the whole catalogue.
    device
        Where the model computes.
    """

    def __init__(self, training_rows: Tensor, item_count: int, refresh_steps: int, device: torch.device) -> None:
        self._rows = torch.arange(item_count, device=device)
        self._once = torch.zeros(item_count, device=device)  # log 1: each item is one column
        left_out = torch.full((item_count,), float("inf"))  # as log p: nothing is left of the item's logit
        left_out[training_rows[training_rows != PADDING]] = 0.0
        self._left_out = left_out.to(device)
        self._refresh_steps, self._age = refresh_steps, 0
        self._table: Tensor | None = None

    def prepare(self, features: Features, sequences: Tensor) -> Prepared:
        """Prepare the loss of a batch; its items' content vectors are the table's once it was called."""
        columns = columns_to_predict(self._rows, sequences, self._once)
        items = sequences[sequences != PADDING].unique()
        fetched = features.fetch(items)

        def loss(model: Crossan) -> Tensor:
            parts = []
            if model.item_encoder is not None:
                parts.append(self._content(model.item_encoder, features, fetched, items.to(self._rows.device)))
            if model.id_embedding is not None:
                parts.append(model.id_embedding.weight)
            vectors = parts[0] if len(parts) == 1 else parts[0] + parts[1]
            here = columns.to(self._rows.device)
            return debiased_loss_of_batch(here, vectors, model.sequence_encoder, self._left_out)

        return loss

    def state(self) -> dict[str, Tensor]:
        """Return the table and the steps since it was encoded whole; nothing before the first step and without content."""
        return {} if self._table is None else {"table": self._table, "age": torch.tensor(self._age)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back a table and its age."""
        if state:
            self._table, self._age = state["table"].to(self._rows.device), int(state["age"])

    def _content(self, encoder: ItemEncoder, features: Features, fetched: Fetched, items: Tensor) -> Tensor:
        """Return the content vectors of the catalogue, ``(items, width)``, those of the batch with their gradient."""
        if self._table is None or self._age == self._refresh_steps:
            self._table, self._age = self._encode_all(encoder, features), 0
        content = self._table.index_copy(0, items, encoder(*fetched.gather(items)))
        self._table = content.detach()
        self._age += 1
        return content

    @torch.no_grad()
    def _encode_all(self, encoder: ItemEncoder, features: Features) -> Tensor:
        return torch.cat([encoder(*features.gather(rows)) for rows in self._rows.split(_ITEMS_PER_BLOCK)])
