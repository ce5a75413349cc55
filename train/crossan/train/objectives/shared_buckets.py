"""One rank's share of a batch, filled up so that all ranks record and repeat together.

Every rank knows the whole batch, and so the bucket of the whole, which is the same for all: its
columns are those of the whole batch, its users and predictions the most that any rank has. So no
rank asks another which recording comes next, and what ranks send each other has the same shapes.
The arithmetic is that of `crossan.train.objectives.shared_step`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from crossan.train.features import Fetched, ItemInputs
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.objectives.buckets import FilledBatch, bucket_of, filled, ordinary_memory
from crossan.train.objectives.candidates import InBatchRule, columns_by, softmax_by
from crossan.train.objectives.columns import BatchColumns
from crossan.train.objectives.loss import debiased_loss_of_batch
from crossan.train.objectives.shared_step import gather_vectors, of_users
from crossan.train.ranks.ranks import Ranks

__all__ = ["SharedBatches"]


class SharedBatches:
    """One rank's shares of the batches of the in-batch objective, filled up to buckets.

    Parameters
    ----------
    ranks
        The ranks that share every batch.
    sequences, batch_size, log_popularity, rule
        As for `crossan.train.objectives.buckets.BucketedBatches`; users per step of all ranks
        together.
    """

    def __init__(
        self,
        ranks: Ranks,
        sequences: Tensor,
        batch_size: int,
        log_popularity: Tensor,
        rule: InBatchRule | None = None,
    ) -> None:
        self._ranks, self._sequences, self._log_popularity = ranks, sequences, log_popularity
        self._rule = rule
        # The longest share: none is longer than another by more than one user.
        self._user_count = -(-min(batch_size, len(sequences)) // ranks.count)

    def filled(self, batch: Tensor, room: Callable[[int], Tensor] = ordinary_memory) -> FilledBatch:
        """Return what this rank's part of a step reads.

        Parameters are as for `BucketedBatches.filled`.
        """
        sequences = self._sequences[batch]
        columns = columns_by(self._rule, sequences)
        share = of_users(columns, self._ranks.part(len(sequences)))
        by_user = columns.packing.is_real.sum(dim=1)
        most = max(
            int(by_user[Ranks(number, self._ranks.count).part(len(sequences))].sum())
            for number in range(self._ranks.count)
        )
        weight = len(share.positive) / max(len(columns.positive), 1)
        share = replace(share, share=torch.tensor([weight], dtype=torch.float64))
        return filled(share, bucket_of(columns, self._user_count, most), room)

    def items_of(self, columns: BatchColumns) -> Tensor:
        """Return the catalogue rows whose vectors this rank makes, ``(columns of its share,)``."""
        return columns.items[self._ranks.part(len(columns.items))]

    def loss_of(
        self, model: SequenceModel, inputs: ItemInputs | Fetched, columns: BatchColumns
    ) -> Tensor:
        """Return this rank's part of the loss, which depends on nothing but shapes on the host.

        All ranks call it, and its backward, together. The sum of what it returns is the loss.

        Parameters
        ----------
        model
            What makes the vectors.
        inputs
            Gathers the rows of `items_of` where the model computes.
        columns
            The filled share, where the model computes.
        """
        assert columns.share is not None  # by `filled`
        vectors = model.item_vectors(inputs, self.items_of(columns))
        item_vectors = gather_vectors(vectors, len(columns.items), self._ranks)
        loss = debiased_loss_of_batch(
            columns,
            item_vectors,
            model.sequence_encoder.packed,
            self._log_popularity,
            softmax_by(self._rule),
        )
        return loss * columns.share[0].to(loss.dtype)
