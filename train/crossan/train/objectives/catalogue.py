r"""Full softmax over the catalogue: every trained item that is not the user's own is a negative.

With C the items that some training part holds, :math:`I_u` the user's training
items as in Eq. 7, and :math:`\hat y_{uj} = \langle e_u, z_j \rangle`,

.. math:: L = -\frac{1}{n} \sum_{(u, i)} \log
   \frac{\exp \hat y_{ui}}{\exp \hat y_{ui} + \sum_{j \in C \setminus I_u} \exp \hat y_{uj}}.

The loss samples no negative, so it has nothing to correct: no popularity enters. An
item outside C has no positive to weigh against being everybody's negative, and
is left out.

An item vector is :math:`z_j = e_j + v_j` (`crossan.train.layers.id_embedding`). The
ids' part :math:`v_j` is read as it is and gets its whole gradient, in and
outside the batch: over ids alone (SASRec) the objective is exact. The
content :math:`e_j` of every item would cost an encoding of the catalogue per
step. Instead it is fresh, with gradient, for the items of the batch and for
``objective.sample_size`` items S drawn from the N other ones of C, and
**stale** for the rest: a constant from the step that last encoded the item, or
the whole catalogue, every ``objective.refresh_steps``, the first step included.

The loss counts every item once, whatever it is. The gradient through the
content of the N, all of whom are negatives, is estimated by that of the sample,
times N / |S|: without bias but for what is stale. It cannot be left out: the
batch holds every positive and few of the negatives, and adapters that mostly
see items being raised raise them all, without end.

Cost beside in-batch: logits over the catalogue instead of the batch's items, the
sample's encoding, one encoding of the catalogue per refresh, and in memory three
times ``(items, width)``: the table, the vectors of a step, their gradient. A
block of logits takes as many predictions as fit (`crossan.train.objectives.loss`), one at
least.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from crossan.train.features import Features, Fetched
from crossan.train.models.item_encoder import ItemEncoder
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.objectives.loss import columns_to_predict, debiased_loss_of_batch
from crossan.train.objectives.sample import drawn_by, standing_for
from crossan.train.objectives.step import Prepared
from crossan.train.sequences.padding import PADDING

__all__ = ["ITEMS_PER_REFRESH", "CatalogueSoftmax"]

ITEMS_PER_REFRESH = 1024
"""Items gathered and encoded at a time where the whole catalogue is."""


@dataclass(frozen=True, slots=True)
class _Encoded:
    """Whose content a step encodes."""

    rows: Tensor
    """Catalogue rows of the batch's items, then the sample's, on the CPU."""
    batch_count: int
    weight: float
    """How many items outside the batch one of the sample stands for."""


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
    sample_size
        Items outside the batch encoded in a step, with gradient.
    device
        Where the model computes.
    """

    def __init__(
        self,
        training_rows: Tensor,
        item_count: int,
        refresh_steps: int,
        sample_size: int,
        device: torch.device,
    ) -> None:
        self._rows = torch.arange(item_count, device=device)
        self._once = torch.zeros(item_count, device=device)  # log 1: each item is one column
        self._is_trained = torch.zeros(item_count, dtype=torch.bool)
        self._is_trained[training_rows[training_rows != PADDING]] = True
        # As log p: nothing is left of the item's logit.
        self._left_out = (
            torch.zeros(item_count).masked_fill_(~self._is_trained, float("inf")).to(device)
        )
        self._refresh_steps, self._sample_size, self._age = refresh_steps, sample_size, 0
        self._table: Tensor | None = None

    def prepare(self, features: Features, sequences: Tensor) -> Prepared:
        """Prepare the loss of a batch; its items' content vectors are the table's once it was called."""
        columns = columns_to_predict(self._rows, sequences, self._once)
        encoded = self._items_to_encode(sequences)
        fetched = features.fetch(encoded.rows)

        def loss(model: SequenceModel) -> Tensor:
            vectors = model.catalogue_vectors(
                lambda encoder: self._content(encoder, features, fetched, encoded)
            )
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

    def _items_to_encode(self, sequences: Tensor) -> _Encoded:
        """Draw the sample beside a batch's items."""
        items = sequences[sequences != PADDING].unique()
        is_other = self._is_trained.clone()
        is_other[items] = False
        others = is_other.nonzero().squeeze(1)
        sample = others[drawn_by(sequences, len(others), self._sample_size)]
        return _Encoded(torch.cat([items, sample]), len(items), len(others) / max(len(sample), 1))

    def _content(
        self, encoder: ItemEncoder, features: Features, fetched: Fetched, encoded: _Encoded
    ) -> Tensor:
        """Return the content vectors of the catalogue, ``(items, width)``, those encoded now with their gradient."""
        if self._table is None or self._age == self._refresh_steps:
            self._table, self._age = self._encode_all(encoder, features), 0
        rows = encoded.rows.to(self._rows.device)
        own, sample = encoder(*fetched.gather(rows)).tensor_split([encoded.batch_count])
        content = self._table.index_copy(
            0, rows, torch.cat([own, standing_for(sample, encoded.weight)])
        )
        self._table = content.detach()
        self._age += 1
        return content

    @torch.no_grad()
    def _encode_all(self, encoder: ItemEncoder, features: Features) -> Tensor:
        return torch.cat(
            [encoder(*features.gather(rows)) for rows in self._rows.split(ITEMS_PER_REFRESH)]
        )
