"""Ranks of targets under many weights of a hybrid's terms, with all products made once.

For a block of users the runs' scores and the cosines are two products, whatever the
terms count. Each candidate then costs a sum and a comparison of that block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from crossan.common.console import progress
from crossan.common.heartbeat import beat
from crossan.train.evaluation.hybrid import base_vectors, content_vectors
from crossan.train.evaluation.masking import Masked
from crossan.train.evaluation.metrics import UNREACHABLE
from crossan.train.evaluation.other_targets import OtherTargets
from crossan.train.evaluation.ranker import SUM_ROUNDING, gains_at
from crossan.train.models.hybrid_of_runs import HybridOfRuns, TermWeights
from crossan.train.sequences.splits import ValidationSplit
from crossan.train.settings import HistoryMask

__all__ = ["HybridTerms"]

_SCORES_PER_BLOCK = 500_000
"""Scores of some users and all items that are held at a time, 2 MB of float32 for each of three:
a comparison of four times as many takes half as long again for each."""


class HybridTerms:
    """The terms of a hybrid's scores of validation targets, each for itself.

    Parameters
    ----------
    model
        The hybrid, which has not taken weights of its terms.
    item_vectors
        Those that it makes of the whole catalogue, ``(items, width)``.
    split
        The targets.
    mask_history
        See `HistoryMask`.
    """

    def __init__(
        self,
        model: HybridOfRuns,
        item_vectors: Tensor,
        split: ValidationSplit,
        mask_history: HistoryMask,
    ) -> None:
        parts = model.parts_of(item_vectors)
        # They stand side by side already: a view, where a copy would be of the whole catalogue.
        self._base_items = item_vectors[:, : sum(part.shape[1] for part in parts.of_bases)]
        self._content_items, self._is_cold = parts.content, parts.is_cold.squeeze(1)
        self._base_users = base_vectors(model, item_vectors, split.inputs)
        self._content_users = content_vectors(model, item_vectors, split.histories)
        self._chain: Callable[[Sequence[np.ndarray]], sparse.csr_array] = model.chain()
        self._split, self._mask_history = split, mask_history

    @torch.inference_mode()
    def ranks(self, candidates: Sequence[TermWeights], rows: Tensor, doing: str) -> list[Tensor]:
        """Return the ranks of some targets under each candidate.

        Parameters
        ----------
        candidates
            What the terms count.
        rows
            Which targets, in order, ``(targets,)``; of a user all or none.
        doing
            What the progress is called.

        Returns
        -------
        list of Tensor
            1-based ranks ``(targets,)`` by candidate, `UNREACHABLE` where the target is masked.
        """
        users, targets = self._split.users[rows], self._split.targets[rows]
        others = OtherTargets.of(users, targets)
        ranks = torch.zeros((len(candidates), len(rows)), dtype=torch.int64)
        scores = torch.zeros((len(candidates), len(rows)), dtype=torch.float64)
        at_once = max(1, _SCORES_PER_BLOCK // len(self._base_items))
        with progress(doing, len(rows), "targets") as shown:
            for block in torch.arange(len(rows)).split(at_once):
                beat()
                on_device = users[block].to(self._base_items.device)
                known = Masked.of_histories(
                    self._split.histories, on_device, targets[block], self._mask_history
                )
                masked = known.with_more(*others.of_rows(block))
                of_block = self._block(users[block], targets[block], masked)
                for number, counted in of_block.count(candidates):
                    counted.ranks[known.hidden_targets] = UNREACHABLE
                    ranks[number, block] = counted.ranks.cpu()
                    scores[number, block] = counted.target_scores.double().cpu()
                shown.advance(len(block))
        return [others.put_in_order(*one) for one in zip(ranks, scores, strict=True)]

    def _block(self, users: Tensor, targets: Tensor, masked: Masked) -> _Block:
        device = self._base_items.device
        base_users = self._base_users[users.to(device)]
        content_users = self._content_users[users.to(device)]
        chain = sparse.csr_array(self._chain([self._split.histories[u] for u in users.tolist()]))
        of_target = gains_at(chain, np.arange(len(users)), targets.numpy())
        places = chain.tocoo()
        rows, items = (torch.from_numpy(part.astype(np.int64)).to(device) for part in places.coords)
        targets = targets.to(device)
        base, content = base_users @ self._base_items.T, content_users @ self._content_items.T
        each = torch.arange(len(users), device=device)
        target = _Terms(
            base[each, targets].clone(),
            content[each, targets],
            self._is_cold[targets],
            torch.from_numpy(of_target).to(base),
        )
        lengths = _length(base_users) * _length(self._base_items[targets])
        content_lengths = _length(content_users) * _length(self._content_items[targets])
        masked.apply(base, 0)
        gained = torch.from_numpy(places.data).to(base)
        everything = _Terms(base, content, self._is_cold, gained)
        return _Block(everything, target, rows, items, lengths, content_lengths)


def _length(vectors: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(vectors, dim=1)
    return length


@dataclass(frozen=True, slots=True)
class _Terms:
    """The terms of some scores; the chain's only at the places that have any."""

    base: Tensor
    content: Tensor
    is_cold: Tensor
    chain: Tensor


@dataclass(frozen=True, slots=True)
class _Counted:
    """What is known of the targets of a block under one candidate, ``(users,)`` each."""

    ranks: Tensor
    target_scores: Tensor


@dataclass(frozen=True, slots=True)
class _Dense:
    """The runs' scores and the weighed cosines of some users and all items, added up."""

    scores: Tensor
    """``(users, items)``."""
    of_cold: Tensor
    """Those of the cold items, ``(users, cold items)``."""
    content_of_cold: Tensor
    """The weighed cosines of the cold items alone, ``(users, cold items)``."""
    at_places: Tensor
    """Those at the places of the chain, ``(places,)``."""
    cold_at_places: Tensor
    """The weighed cosines at those of the places whose item is cold, 0 at others, ``(places,)``."""


@dataclass(frozen=True, slots=True)
class _Block:
    """The scores of some users and all items, term by term."""

    everything: _Terms
    """``(users, items)`` each, but for the chain's, ``(places,)``, and coldness, ``(items,)``."""
    target: _Terms
    """``(users,)`` each."""
    rows: Tensor
    """User of each place of the chain."""
    items: Tensor
    """Its item."""
    lengths: Tensor
    """Product of the lengths of the vectors of user and target, ``(users,)``."""
    content_lengths: Tensor

    def count(self, candidates: Sequence[TermWeights]) -> list[tuple[int, _Counted]]:
        """Return the rank of each target under each candidate, with the candidate's number."""
        numbered = sorted(enumerate(candidates), key=lambda one: one[1].content)
        counted = []
        scores = torch.empty_like(self.everything.base)
        cold_items = self.everything.is_cold.nonzero().squeeze(1)
        for content, group in groupby(numbered, key=lambda one: one[1].content):
            torch.add(self.everything.base, self.everything.content, alpha=content, out=scores)
            of_places = self.everything.content[self.rows, self.items]
            dense = _Dense(
                scores,
                scores[:, cold_items],
                content * self.everything.content[:, cold_items],
                scores[self.rows, self.items],
                content * of_places * self.everything.is_cold[self.items],
            )
            counted += [(number, self._under(one, dense)) for number, one in group]
        return counted

    def _under(self, weights: TermWeights, dense: _Dense) -> _Counted:
        """Return ranks from two terms of all scores, and what others change of some of them."""
        gains = torch.log1p(weights.co_occurrence * self.target.chain)
        content = weights.content * (1.0 + weights.cold_content * self.target.is_cold)
        target_scores = self.target.base + content * self.target.content
        target_scores = target_scores + weights.cold_bonus * self.target.is_cold + gains
        # As `HybridRanker.rounding` has it: what is this little below may be a rounded tie.
        bonus = abs(weights.cold_bonus)
        length = self.lengths + content * self.content_lengths + bonus + gains
        least = target_scores - SUM_ROUNDING * torch.finfo(length.dtype).eps * length
        lower = _count_lower(dense.scores, least)
        at_places = dense.at_places
        if weights.cold_bonus or weights.cold_content:
            # Few items are cold: those are counted again, in place of adding to all scores.
            of_cold = torch.add(dense.of_cold, dense.content_of_cold, alpha=weights.cold_content)
            with_bonus = _count_lower(of_cold, least - weights.cold_bonus)
            lower += with_bonus - _count_lower(dense.of_cold, least)
            at_places = at_places + weights.cold_content * dense.cold_at_places
            at_places = at_places + weights.cold_bonus * self.everything.is_cold[self.items]
        least = least[self.rows]
        gained = at_places + torch.log1p(weights.co_occurrence * self.everything.chain)
        change = (gained < least).long() - (at_places < least).long()
        lower.index_add_(0, self.rows, change)
        return _Counted(dense.scores.shape[1] - lower, target_scores)


def _count_lower(scores: Tensor, least: Tensor) -> Tensor:
    """Return how many scores of each row are lower, ``(rows,)`` int64."""
    # Bytes add up ten times as fast as bools.
    is_lower = (scores < least.unsqueeze(1)).view(torch.uint8)
    return is_lower.sum(dim=1, dtype=torch.int32).long()
