r"""The scores of finished runs with two terms that no step learns.

With :math:`s^r_{ui}` the scores of run r, :math:`M_{ui}` those of the decayed Markov
chain (`crossan.train.models.markov`), :math:`c_i` the content of item i
(`crossan.train.layers.content_vectors`), :math:`i_0, i_1, ...` the history of user u,
the last item first, and :math:`\phi(i)` how often item i occurs in training,

.. math:: s_{ui} = \frac{1}{R} \sum_r s^r_{ui} + \log(1 + a M_{ui})
   + b\,(1 + g\,[\phi(i) = 0]) \cos\Big(\sum_{k < w} d^k c_{i_k}, c_i\Big)
   + e\,[\phi(i) = 0].

The scores of the debiased loss, over its temperature, are logarithms of probabilities
up to a constant, so :math:`s^r` are over it, and a logarithm is added to them. An item
that nobody had in training scores low by that loss, whatever its content: e is what it
is given for that, and g how much more than of other items its content counts, as nothing
else tells it from others. a, b, g and e are chosen by validation
(`crossan.train.loop.hybrid_choice`). No publication has this rule.

All terms but the second are products of a user's vector and an item's, so they
are one product of longer vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from crossan.cache_schema.errors import UsageError
from crossan.train.features import Fetched, HiddenStates, ItemInputs
from crossan.train.layers.content_vectors import ContentVectors
from crossan.train.models import markov
from crossan.train.models.pair_model import PairModel
from crossan.train.models.recommender import ModelContext
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.models.table import build_model
from crossan.train.settings import HybridOfRunsSettings

__all__ = ["HybridOfRuns", "ItemParts", "TermWeights", "build", "log_gains"]

_IS_KNOWN = "is_known"


@dataclass(frozen=True, slots=True, order=True)
class TermWeights:
    """What the terms beside the runs' scores count."""

    co_occurrence: float = 0.0
    """a, by which the Markov chain's scores are multiplied within the logarithm."""
    content: float = 0.0
    """b, by which the cosine is multiplied."""
    cold_bonus: float = 0.0
    """e, what is added for an item that nobody had in training."""
    cold_content: float = 0.0
    """g, by how many times b the cosine of such an item counts more."""


class HybridOfRuns(nn.Module):
    """Add terms to the mean of the scores of some runs.

    Parameters
    ----------
    bases
        The models of the runs.
    widths
        Width of the item vectors of each.
    temperatures
        What the scores of each were divided by in training.
    pairs
        What followed what in training.
    content
        From hidden states to content; None where no run reads any.
    is_known
        Which catalogue items occur in training, ``(items,)`` bool.

    Raises
    ------
    ValueError
        The pairs have no window.
    """

    term_weights: Tensor
    """a, b, e and g, ``(4,)`` float64."""
    is_known: Tensor
    """1 for the items that occurred in training and 0 for others, ``(items,)`` float32."""

    def __init__(
        self,
        bases: Sequence[SequenceModel],
        widths: Sequence[int],
        temperatures: Sequence[float],
        pairs: PairModel,
        content: ContentVectors | None,
        is_known: Tensor,
    ) -> None:
        super().__init__()
        self.bases = nn.ModuleList(bases).requires_grad_(False)
        self.pairs, self.content = pairs, content
        self._widths = tuple(widths)
        if pairs.window is None:
            raise ValueError("expected pairs with a window, as content is read by the same")
        self.decay, self.window = pairs.decay, pairs.window
        """As of the pairs, what an item of a history counts beside the one after it, and how many
        of the last ones are read. The content is read so, too."""
        self.divisors = tuple(len(bases) * temperature for temperature in temperatures)
        """What the user vectors of each run are divided by, so that the product is its part of the
        mean of the scores."""
        self.register_buffer("term_weights", torch.zeros(4, dtype=torch.float64))
        self.register_buffer(_IS_KNOWN, is_known.float())

    @property
    def weights(self) -> TermWeights:
        """What the terms count."""
        return TermWeights(*self.term_weights.tolist())

    def take_weights(self, weights: TermWeights) -> None:
        """Have the terms count so much from now on."""
        self.term_weights.copy_(torch.tensor(astuple(weights)))

    def content_lengths(self, item_vectors: Tensor) -> Tensor:
        """Return the lengths of the content of item vectors, ``(items,)``: 1, or 1 + g."""
        is_cold = self.parts_of(item_vectors).is_cold
        return 1.0 + self.weights.cold_content * is_cold.squeeze(1)

    def base_models(self) -> list[SequenceModel]:
        """Return the models of the runs."""
        return [base for base in self.bases if isinstance(base, SequenceModel)]

    def item_rows(self) -> tuple[str, ...]:
        """Return the names of the weights that have a row for every catalogue item."""
        of_bases = (
            f"bases.{number}.{name}"
            for number, base in enumerate(self.base_models())
            for name in base.item_rows()
        )
        return (*of_bases, _IS_KNOWN)

    def item_vectors(self, features: ItemInputs | Fetched, rows: Tensor) -> Tensor:
        """Return the item vectors of catalogue rows ``(any,)``, shape ``(any, width)``.

        Those of the runs stand side by side, then the content, of `content_lengths`, then
        1 for an item that nobody had in training and 0 for another.
        """
        gathered = features.gather(rows)
        # What was fetched is given out once, and every run reads it.
        parts = [
            base.item_vectors(Fetched(rows, lambda: gathered), rows) for base in self.base_models()
        ]
        is_cold = (1.0 - self.is_known[rows]).unsqueeze(1).to(parts[0])
        if self.content is not None:
            length = 1.0 + self.weights.cold_content * is_cold
            parts.append(self.content(*gathered).to(parts[0]) * length)
        parts.append(is_cold)
        return torch.cat(parts, dim=1)

    def parts_of(self, item_vectors: Tensor) -> ItemParts:
        """Return the columns of `item_vectors` by what they are."""
        width = 0 if self.content is None else self.content.width
        *of_bases, content, is_cold = item_vectors.split([*self._widths, width, 1], dim=1)
        return ItemParts(of_bases, content, is_cold)

    def chain(self) -> Callable[[Sequence[np.ndarray]], sparse.csr_array]:
        """Return a function from histories to the Markov chain's scores, ``(users, items)``."""
        return self.pairs.gains()


@dataclass(frozen=True, slots=True)
class ItemParts:
    """The columns of a hybrid's item vectors."""

    of_bases: Sequence[Tensor]
    """Item vectors of each run, ``(items, its width)``."""
    content: Tensor
    """``(items, content width)``, without columns where no run reads content."""
    is_cold: Tensor
    """1 for an item that nobody had in training, ``(items, 1)``."""


def log_gains(chain: sparse.csr_array, co_occurrence: float) -> sparse.csr_array:
    """Return the second term, ``log(1 + a M)``, of the chain's scores M, ``(users, items)``."""
    if not co_occurrence:
        return sparse.csr_array(chain.shape)
    return sparse.csr_array(
        (np.log1p(co_occurrence * chain.data), chain.indices, chain.indptr), shape=chain.shape
    )


def build(settings: HybridOfRunsSettings, context: ModelContext) -> HybridOfRuns:
    """Build the models of the runs with random weights, and count what followed what.

    Raises
    ------
    UsageError
        No run is named, or one whose model makes no vectors of histories.
    """
    if not settings.of:
        raise UsageError(
            "model.of: expected finished runs whose scores are added to, found none",
            remedy="Name them: crossan-train --model hybrid --of RUN,RUN --out FOLDER",
        )
    bases = []
    for base in settings.of:
        model = build_model(base.model, context)
        if not isinstance(model, SequenceModel) or not base.width:
            raise UsageError(
                f"{base.run}: expected a run of a model that makes vectors of histories, got one of"
                f" {base.model.kind}",
                remedy="Name runs of crossan, frozen, sasrec and the like: --of RUN,RUN",
            )
        bases.append(model)
    content = None
    if settings.reads_hidden_states:
        assert isinstance(context.inputs, HiddenStates)  # by its settings
        features = context.features
        content = ContentVectors(features.dims, features.layer_count, settings.content_width)
    pairs = markov.build(settings, context)
    return HybridOfRuns(
        bases,
        [base.width for base in settings.of],
        [base.temperature for base in settings.of],
        pairs,
        content,
        context.is_trained(),
    )
