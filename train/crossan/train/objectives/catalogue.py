r"""Full softmax over the catalogue.

Every trained item that is not one of the user's is a negative. With C the items
that some training part holds, :math:`I_u` the user's training
items as in Eq. 7, and :math:`\hat y_{uj} = \langle e_u, z_j \rangle`,

.. math:: L = -\frac{1}{n} \sum_{(u, i)} \log
   \frac{\exp \hat y_{ui}}{\exp \hat y_{ui} + \sum_{j \in C \setminus I_u} \exp \hat y_{uj}}.

The loss samples no negative, so there is no bias to correct and no popularity in
it. An item outside C has no positive to weigh against being everybody's
negative, so it is left out.

An item vector is :math:`z_j = e_j + v_j` (`crossan.train.layers.id_embedding`).
The ids' part :math:`v_j` is read as it is and gets its whole gradient, inside
and outside the batch, so over ids alone (SASRec) the objective is exact.

The content :math:`e_j` of every item would cost an encoding of the catalogue per
step. Instead it is fresh, with gradient, for the items of the batch and for
``objective.sample_size`` items S drawn from the N other items of C. For the rest
it is **stale**: a constant from the step that last encoded the item. The whole
catalogue is encoded in the first step and every ``objective.refresh_steps``.

The loss counts every item once. The gradient through the content of the N, all
of which are negatives, is estimated by that of the sample, times N / |S|; only
what is stale biases it. It cannot be left out. The batch holds every positive
and few of the negatives, and adapters that mostly see items being raised raise
them all, without end.

What it costs, compared with in-batch: logits over the catalogue instead of the
items of the batch, the encoding of the sample, one encoding of the catalogue per
refresh, and in memory three times ``(items, width)``, for the table, the vectors
of a step and their gradient. A block of logits takes as many predictions as fit
(`crossan.train.objectives.loss`), and at least one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from crossan.train.features import Fetched, ItemInputs
from crossan.train.layers.tuned_encoder import TunedEncoder
from crossan.train.models.item_encoder import ItemEncoder
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.objectives.columns import columns_to_predict
from crossan.train.objectives.loss import Softmax, debiased_loss_of_batch
from crossan.train.objectives.sample import drawn_by, standing_for
from crossan.train.objectives.step import Prepared
from crossan.train.sequences.padding import PADDING

__all__ = ["ITEMS_PER_REFRESH", "CatalogueSoftmax"]

ITEMS_PER_REFRESH = 1024
"""Items gathered and encoded at a time when the whole catalogue is encoded."""


@dataclass(frozen=True, slots=True)
class _Encoded:
    """The items whose content a step encodes."""

    rows: Tensor
    """Catalogue rows of the batch's items and then of the sample, on the CPU."""
    batch_count: int
    """How many of them are the batch's."""
    weight: float
    """How many items outside the batch each item of the sample stands for."""


class CatalogueSoftmax:
    """Full softmax over the trained items.

    It remembers a content vector per item, and how many steps ago all of them
    were encoded.

    Parameters
    ----------
    training_rows
        Catalogue rows of all training parts, `PADDING` between, any shape.
    item_count
        Number of items in the catalogue.
    refresh_steps
        Steps between two encodings of the whole catalogue.
    sample_size
        Number of items outside the batch that a step encodes, with gradient.
    device
        Where the model computes.
    temperature
        What scores are divided by.
    """

    def __init__(
        self,
        training_rows: Tensor,
        item_count: int,
        refresh_steps: int,
        sample_size: int,
        device: torch.device,
        temperature: float = 1.0,
    ) -> None:
        self._softmax = Softmax(temperature)
        self._rows = torch.arange(item_count, device=device)
        self._once = torch.zeros(item_count, device=device)  # log 1: each item is one column
        self._is_trained = torch.zeros(item_count, dtype=torch.bool)
        self._is_trained[training_rows[training_rows != PADDING]] = True
        # Given to the loss as log p: a score less infinity is -inf, so an item that was never
        # trained is nobody's negative.
        self._left_out = (
            torch.zeros(item_count).masked_fill_(~self._is_trained, float("inf")).to(device)
        )
        self._refresh_steps, self._sample_size, self._age = refresh_steps, sample_size, 0
        self._table: Tensor | None = None

    def prepare(self, features: ItemInputs, sequences: Tensor) -> Prepared:
        """Prepare the loss of a batch, which updates the remembered content when it is called."""
        columns = columns_to_predict(self._rows, sequences, self._once)
        encoded = self._items_to_encode(sequences)
        fetched = features.fetch(encoded.rows)

        def loss(model: SequenceModel) -> Tensor:
            vectors = model.catalogue_vectors(
                lambda encoder: self._content(encoder, features, fetched, encoded)
            )
            on_device = columns.to(self._rows.device)
            return debiased_loss_of_batch(
                on_device, vectors, model.sequence_encoder.packed, self._left_out, self._softmax
            )

        return loss

    def state(self) -> dict[str, Tensor]:
        """Return the table of content vectors and the steps since it was encoded whole.

        It is empty before the first step, and always in a run without content.
        """
        return {} if self._table is None else {"table": self._table, "age": torch.tensor(self._age)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` returned."""
        if state:
            self._table, self._age = state["table"].to(self._rows.device), int(state["age"])

    def _items_to_encode(self, sequences: Tensor) -> _Encoded:
        """Return the items of a batch and a sample of the others."""
        items = sequences[sequences != PADDING].unique()
        is_other = self._is_trained.clone()
        is_other[items] = False
        others = is_other.nonzero().squeeze(1)
        sample = others[drawn_by(sequences, len(others), self._sample_size)]
        return _Encoded(torch.cat([items, sample]), len(items), len(others) / max(len(sample), 1))

    def _content(
        self,
        encoder: ItemEncoder | TunedEncoder,
        features: ItemInputs,
        fetched: Fetched,
        encoded: _Encoded,
    ) -> Tensor:
        """Return the content vectors of the catalogue, ``(items, width)``.

        Those that this step encodes have a gradient.
        """
        if self._table is None or self._age == self._refresh_steps:
            self._table, self._age = self._encode_all(encoder, features), 0
        rows = encoded.rows.to(self._rows.device)
        batch, sample = encoder(*fetched.gather(rows)).tensor_split([encoded.batch_count])
        fresh = torch.cat([batch, standing_for(sample, encoded.weight)])
        content = self._table.index_copy(0, rows, fresh)
        self._table = content.detach()
        self._age += 1
        return content

    @torch.no_grad()
    def _encode_all(self, encoder: ItemEncoder | TunedEncoder, features: ItemInputs) -> Tensor:
        return torch.cat(
            [encoder(*features.gather(rows)) for rows in self._rows.split(ITEMS_PER_REFRESH)]
        )
