r"""What an in-batch prediction chooses between, and how its negatives are corrected.

Eq. 7 subtracts :math:`\log p` from the score of the positive as from those of the negatives, as
Yi et al. (RecSys 2019, "Sampling-bias-corrected neural modeling") do. Two things may differ:

**The positive is there with probability one** (``objective.debias=negatives``; Khrylchenko et al.,
RecSys 2025, "Correcting the LogQ correction", arXiv 2507.09331). Only negatives are drawn, so only
they are corrected. With n the number of occurrences in the batch of items that are not the
user's, and Q(I) the share of the user's items in what is drawn, such an occurrence of item j
stands for :math:`(1 - Q(I)) / (n Q_j)` items, and

.. math:: D_{ui} = \exp(\hat y_{ui})
   + \frac{1 - Q(I_u)}{n} \sum_{j \notin I_u} c_j \exp(\hat y_{uj} - \log Q_j),

of which the sum estimates the whole sum over the trained items that are not the user's, without
bias. The paper writes its loss as :math:`1 - P` times one without the positive in
the denominator, with P the share of the positive and no gradient through it. Where P is
:math:`\exp(\hat y_{ui}) / D_{ui}`, as in the paper's code, the gradient of that is the gradient of
:math:`-\log P`; it is the latter that is computed here, and whose value is shown.

**Negatives are drawn from two sources** (``objective.uniform_negatives=N``; Yang et al., WWW 2020,
"Mixed negative sampling for learning two-tower neural networks"). N of the trained items C, each
as likely as any other, are encoded beside those of the batch and are everybody's candidates. With
b the occurrences in the batch, an occurrence is of item j with probability

.. math:: Q_j = \frac{b p_j + N / |C|}{b + N},

which takes the place of :math:`p_j`. An item outside C is not drawn: it has no positive to weigh
against being a negative, and would only be pushed down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from crossan.train.objectives.columns import BatchColumns, batch_columns, columns_to_predict
from crossan.train.objectives.loss import EQ_7, Softmax
from crossan.train.objectives.sample import drawn_by
from crossan.train.sequences.padding import PADDING
from crossan.train.settings.objective import Debias, ObjectiveSettings

__all__ = ["InBatchRule", "columns_by", "rule_of", "softmax_by"]


@dataclass(frozen=True, slots=True)
class InBatchRule:
    """What the in-batch objective does beside Eqs. 7-8.

    All tensors are on the CPU, where the indices of a batch are worked out.
    """

    softmax: Softmax
    debias: Debias
    uniform_negatives: int
    """N, items drawn for a step; all of C where that is smaller."""
    trained: Tensor
    """C, catalogue rows of the items that some training part holds, ``(trained,)``."""
    log_popularity: Tensor
    """Log p of the catalogue, ``(items,)`` float64."""

    def columns(self, sequences: Tensor) -> BatchColumns:
        """Return the items that a batch chooses between, and what to predict in it.

        Parameters
        ----------
        sequences
            ``(users, position)`` catalogue rows padded with `PADDING`, on the CPU.
        """
        drawn = self.drawn(sequences)
        is_real = sequences != PADDING
        columns = _with_drawn(sequences, drawn) if len(drawn) else batch_columns(sequences)
        if len(drawn) or self.debias == "negatives":
            columns = replace(columns, log_q=self.log_q(columns.items, int(is_real.sum())))
        if self.debias == "negatives":
            columns = replace(columns, log_weight=_log_weights(columns))
        return columns

    def drawn(self, sequences: Tensor) -> Tensor:
        """Return the catalogue rows that are drawn beside a batch, each once, ``(drawn,)``.

        The batch alone decides which, so a resumed run draws them again.
        """
        if not self.uniform_negatives:
            return self.trained[:0]
        return self.trained[drawn_by(sequences, len(self.trained), self.uniform_negatives)]

    def log_q(self, rows: Tensor, occurrences: int) -> Tensor:
        """Return log Q of some items, of the same shape.

        Parameters
        ----------
        rows
            Their catalogue rows.
        occurrences
            b, how many items the sequences of the batch hold, repeats too.
        """
        drawn = min(self.uniform_negatives, len(self.trained))
        of_batch = self.log_popularity[rows]
        if not drawn:
            return of_batch
        expected = occurrences * of_batch.exp() + drawn / len(self.trained)
        return (expected / (occurrences + drawn)).log()


def rule_of(
    chosen: ObjectiveSettings, training_rows: Tensor, log_popularity: Tensor
) -> InBatchRule | None:
    """Return what settings ask for beside Eqs. 7-8, None for nothing.

    Parameters
    ----------
    chosen
        The settings.
    training_rows
        Catalogue rows of all training parts, `PADDING` between, any shape.
    log_popularity
        Log p of the catalogue, ``(items,)``.
    """
    softmax = Softmax(chosen.temperature, chosen.label_smoothing)
    if softmax == Softmax() and chosen.debias == "all" and not chosen.uniform_negatives:
        return None
    trained = training_rows[training_rows != PADDING].unique()
    return InBatchRule(
        softmax,
        chosen.debias,
        chosen.uniform_negatives,
        trained,
        log_popularity.cpu().double(),
    )


def columns_by(rule: InBatchRule | None, sequences: Tensor) -> BatchColumns:
    """Return the columns of a batch by a rule, those of Eqs. 7-8 where there is none."""
    return batch_columns(sequences) if rule is None else rule.columns(sequences)


def softmax_by(rule: InBatchRule | None) -> Softmax:
    """Return the softmax of a rule, that of Eq. 7 where there is none."""
    return EQ_7 if rule is None else rule.softmax


def _with_drawn(sequences: Tensor, drawn: Tensor) -> BatchColumns:
    """Return the columns of a batch and of the items drawn beside it."""
    is_real = sequences != PADDING
    occurrences = torch.cat([sequences[is_real], drawn])
    items, inverse, counts = torch.unique(occurrences, return_inverse=True, return_counts=True)
    columns = torch.full_like(sequences, PADDING)
    columns[is_real] = inverse[: len(occurrences) - len(drawn)]
    return columns_to_predict(items, columns, counts.double().log())


def _log_weights(columns: BatchColumns) -> Tensor:
    """Return log((1 - Q(I)) / n) of the user of each prediction, ``(predictions,)`` float64."""
    assert columns.log_q is not None
    # Side by side in sorted order, an item of a user's that repeats counts once.
    ordered = columns.user_items.sort(dim=1).values
    is_counted = ordered != PADDING
    is_counted[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
    occurrences = columns.log_multiplicity.exp()
    own_q, own_occurrences = (
        (of_column[ordered.clamp(min=0)] * is_counted).sum(dim=1)
        for of_column in (columns.log_q.exp(), occurrences)
    )
    # A user of all there is has no negative to weigh: any finite number does.
    least = torch.finfo(own_q.dtype).tiny
    left = (occurrences.sum() - own_occurrences).round().clamp(min=1.0)
    return (1.0 - own_q).clamp(min=least).log() - left.log()
