r"""Negatives from the batch and from a memory of the batches before it.

A first-in-first-out memory M holds the last ``objective.memory_size`` item
vectors :math:`\bar z_k` that batches were trained with, one for each unique
item of a batch, with its number of occurrences :math:`c_k` in it. It makes the
batch of Eq. 7 larger at the price of a matrix product. With all else as in Eq. 7,

.. math:: D_{ui} = \exp(\hat y_{ui} - \log p_i)
   + \sum_{j \notin I_u} c_j \exp(\hat y_{uj} - \log p_j)
   + \sum_{k \in M, k \notin I_u} c_k \exp(\langle e_u, \bar z_k \rangle - \log p_k).

A remembered vector is a constant of the step that made it. The exceptions are
``objective.sample_size`` entries S of the memory, drawn in each step: their
items are encoded again, with gradient, and that gradient, times |M| / |S|,
stands for the gradient of the whole memory. It cannot be left out. The batch
holds every positive and only some of the negatives, and vectors that are raised
more than they are lowered grow without end.

An item may be in the memory several times, and in the batch as well, just as it
may occur several times in a batch. The memory is empty at first, so the first
steps are in-batch. Where the oldest batch only partly fits, its items with lower
catalogue rows are dropped first.

What it costs, compared with in-batch: logits over ``memory_size`` more columns,
the encoding of the sample, which is gathered only when its step is taken, and
twice ``(memory_size, width)`` in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from crossan.train.features import ItemInputs
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.objectives.columns import BatchColumns, batch_columns
from crossan.train.objectives.loss import Softmax, debiased_loss_of_batch
from crossan.train.objectives.sample import drawn_by, standing_for
from crossan.train.objectives.step import Prepared
from crossan.train.sequences.padding import PADDING

__all__ = ["CrossBatch"]


class CrossBatch:
    """Debiased cross entropy over the batch and the remembered items.

    Parameters
    ----------
    log_popularity
        Log p of the catalogue, ``(items,)``, in the dtype and on the device of
        the model.
    memory_size
        Number of item vectors that are remembered.
    sample_size
        How many of them are encoded again in a step, with gradient.
    width
        Width of an item vector.
    temperature
        What scores are divided by.
    """

    def __init__(
        self,
        log_popularity: Tensor,
        memory_size: int,
        sample_size: int,
        width: int,
        temperature: float = 1.0,
    ) -> None:
        self._softmax = Softmax(temperature)
        self._log_popularity = log_popularity
        self._size, self._sample_size = memory_size, sample_size
        # Rows and counts stay on the CPU, where indices are worked out: no step waits for a device.
        self._items = torch.empty(0, dtype=torch.int64)
        self._log_multiplicity = torch.empty(0, dtype=torch.float64)
        self._vectors = log_popularity.new_empty(0, width)

    def prepare(self, features: ItemInputs, sequences: Tensor) -> Prepared:
        """Prepare the loss of a batch, which remembers its item vectors when it is called."""
        batch = batch_columns(sequences)
        fetched = features.fetch(batch.items)

        def loss(model: SequenceModel) -> Tensor:
            # The memory is read now and not in `prepare`, which a thread calls one step ahead:
            # the batch before this one has been remembered since.
            columns = self._with_memory(batch, sequences).to(self._log_popularity.device)
            fresh = model.item_vectors(fetched, columns.items[: len(batch.items)])
            vectors = torch.cat([fresh, self._memory(model, features, sequences)])
            batch_loss = debiased_loss_of_batch(
                columns,
                vectors,
                model.sequence_encoder.packed,
                self._log_popularity,
                self._softmax,
            )
            self._remember(batch, fresh.detach())
            return batch_loss

        return loss

    def state(self) -> dict[str, Tensor]:
        """Return the memory, oldest first."""
        return {
            "items": self._items,
            "log_multiplicity": self._log_multiplicity,
            "vectors": self._vectors,
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back the memory that `state` returned."""
        if state:
            self._items, self._log_multiplicity = state["items"], state["log_multiplicity"]
            self._vectors = state["vectors"].to(self._log_popularity.device)

    def _memory(self, model: SequenceModel, features: ItemInputs, sequences: Tensor) -> Tensor:
        """Return the remembered vectors, ``(remembered, width)``.

        Some of them are encoded anew and have the gradient of all.
        """
        entries = drawn_by(sequences, len(self._items), self._sample_size)
        if not len(entries):
            return self._vectors
        rows, device = self._items[entries], self._log_popularity.device
        fresh = model.item_vectors(features.fetch(rows), rows.to(device))
        of_all = standing_for(fresh, len(self._items) / len(entries))
        return self._vectors.index_copy(0, entries.to(device), of_all)

    def _with_memory(self, batch: BatchColumns, sequences: Tensor) -> BatchColumns:
        """Return the columns of the batch with those of the memory after them.

        Where the memory holds items of a user, they are never its negatives.
        """
        users = batch.packing.places // (sequences.shape[1] - 1)
        remembered = self._entries_of_users(sequences)
        remembered = torch.where(remembered == PADDING, PADDING, remembered + len(batch.items))
        return replace(
            batch,
            items=torch.cat([batch.items, self._items]),
            log_multiplicity=torch.cat([batch.log_multiplicity, self._log_multiplicity]),
            user_items=torch.cat([batch.user_items, remembered[users]], dim=1),
        )

    def _entries_of_users(self, sequences: Tensor) -> Tensor:
        """Return the entries of the memory that hold items of each user, ``(users, any)``.

        `PADDING` fills the rest.
        """
        # In sorted order the entries of one item are neighbours, from `first` up to `end`. Padding
        # is below every row, so it has none.
        ordered, order = self._items.sort(stable=True)
        first = torch.searchsorted(ordered, sequences)
        end = torch.searchsorted(ordered, sequences, right=True)
        most = int((end - first).max())
        spans = first.unsqueeze(2) + torch.arange(most)  # (users, position, most)
        entries = order[spans.clamp(max=len(order) - 1)]
        return torch.where(spans < end.unsqueeze(2), entries, PADDING).flatten(1)

    def _remember(self, batch: BatchColumns, vectors: Tensor) -> None:
        log_multiplicity = torch.cat([self._log_multiplicity, batch.log_multiplicity])
        self._items = torch.cat([self._items, batch.items])[-self._size :]
        self._log_multiplicity = log_multiplicity[-self._size :]
        self._vectors = torch.cat([self._vectors, vectors])[-self._size :]
