r"""Cross-batch negatives: the items of the batch, and a memory of those of the batches before it.

A first-in-first-out memory M holds the last ``objective.memory_size`` item
vectors :math:`\bar z_k` that batches were trained with, one for each unique
item of a batch with its occurrences :math:`c_k` there. It makes the batch of
Eq. 7 larger at the price of a matrix product: with all else as there,

.. math:: D_{ui} = \exp(\hat y_{ui} - \log p_i)
   + \sum_{j \notin I_u} c_j \exp(\hat y_{uj} - \log p_j)
   + \sum_{k \in M, k \notin I_u} c_k \exp(\langle e_u, \bar z_k \rangle - \log p_k).

A remembered vector is a constant of the step that made it, but for
``objective.sample_size`` places S of the memory drawn in each step: their items
are encoded again, with gradient, and that gradient, times |M| / |S|, stands for
the one of the whole memory. It cannot be left out: the batch holds every
positive and only some of the negatives, and vectors that are raised more than
they are lowered grow without end.

An item may stand in the memory several times, and beside its own fresh vector,
as it may occur several times in a batch. The memory is empty at the beginning,
so the first steps are in-batch; of the oldest batch that only partly fits, the
items of lower catalogue rows go first.

Cost beside in-batch: logits over ``memory_size`` more columns, the sample's
encoding, gathered only when its step is taken, and twice ``(memory_size,
width)`` in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from crossan.train.features import Features
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.objectives.loss import BatchColumns, batch_columns, debiased_loss_of_batch
from crossan.train.objectives.sample import drawn_by, standing_for
from crossan.train.objectives.step import Prepared
from crossan.train.sequences.padding import PADDING

__all__ = ["CrossBatch"]


class CrossBatch:
    """Debiased cross entropy over the batch and the remembered items.

    Parameters
    ----------
    log_popularity
        Log p of the catalogue, ``(items,)``, in the dtype and where the model computes.
    memory_size
        Item vectors remembered.
    sample_size
        Of them encoded again in a step, with gradient.
    width
        Width of one.
    """

    def __init__(
        self, log_popularity: Tensor, memory_size: int, sample_size: int, width: int
    ) -> None:
        self._log_popularity, self._size, self._sample_size = (
            log_popularity,
            memory_size,
            sample_size,
        )
        # Rows and counts stay on the CPU, where indices are found; no step waits for the device.
        self._items = torch.empty(0, dtype=torch.int64)
        self._log_multiplicity = torch.empty(0, dtype=torch.float64)
        self._vectors = log_popularity.new_empty(0, width)

    def prepare(self, features: Features, sequences: Tensor) -> Prepared:
        """Prepare the loss of a batch; its item vectors are remembered once it was called."""
        batch = batch_columns(sequences)
        fetched = features.fetch(batch.items)

        def loss(model: SequenceModel) -> Tensor:
            columns = self._beside_memory(batch, sequences).to(self._log_popularity.device)
            fresh = model.item_vectors(fetched, columns.items[: len(batch.items)])
            vectors = torch.cat([fresh, self._memory(model, features, sequences)])
            found = debiased_loss_of_batch(
                columns, vectors, model.sequence_encoder, self._log_popularity
            )
            self._remember(batch, fresh.detach())
            return found

        return loss

    def state(self) -> dict[str, Tensor]:
        """Return the memory, oldest first."""
        return {
            "items": self._items,
            "log_multiplicity": self._log_multiplicity,
            "vectors": self._vectors,
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back a memory."""
        if state:
            self._items, self._log_multiplicity = state["items"], state["log_multiplicity"]
            self._vectors = state["vectors"].to(self._log_popularity.device)

    def _memory(self, model: SequenceModel, features: Features, sequences: Tensor) -> Tensor:
        """Return the remembered vectors, ``(remembered, width)``, some of them fresh and with the gradient of all."""
        places = drawn_by(sequences, len(self._items), self._sample_size)
        if not len(places):
            return self._vectors
        rows = self._items[places]
        fresh = model.item_vectors(features.fetch(rows), rows.to(self._log_popularity.device))
        return self._vectors.index_copy(
            0,
            places.to(self._log_popularity.device),
            standing_for(fresh, len(self._items) / len(places)),
        )

    def _beside_memory(self, batch: BatchColumns, sequences: Tensor) -> BatchColumns:
        """Return the batch's columns with the memory's after them, those of the user's own items among the own."""
        users = batch.predicting // (sequences.shape[1] - 1)
        remembered = self._places(sequences)
        remembered = torch.where(remembered == PADDING, PADDING, remembered + len(batch.items))
        return replace(
            batch,
            items=torch.cat([batch.items, self._items]),
            log_multiplicity=torch.cat([batch.log_multiplicity, self._log_multiplicity]),
            own=torch.cat([batch.own, remembered[users]], dim=1),
        )

    def _places(self, sequences: Tensor) -> Tensor:
        """Find where the memory holds the items of each user, ``(users, any)``, `PADDING` where it does not."""
        ordered, order = self._items.sort(stable=True)
        first, end = (
            torch.searchsorted(ordered, sequences),
            torch.searchsorted(ordered, sequences, right=True),
        )
        most = int((end - first).max())
        spans = first.unsqueeze(2) + torch.arange(most)  # (users, position, most)
        places = order[spans.clamp(max=len(order) - 1)]
        return torch.where(spans < end.unsqueeze(2), places, PADDING).flatten(1)

    def _remember(self, batch: BatchColumns, vectors: Tensor) -> None:
        self._items = torch.cat([self._items, batch.items])[-self._size :]
        self._log_multiplicity = torch.cat([self._log_multiplicity, batch.log_multiplicity])[
            -self._size :
        ]
        self._vectors = torch.cat([self._vectors, vectors])[-self._size :]
